//! The benchmark's command, run for a moment: that it measures something, not how much.

use std::process::Command;

/// Runs the command and returns what it printed as JSON.
fn figures(arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_wireway-bench")).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_load_gives_a_figure_over_the_loopback() {
    let figures = figures(&["programs", "--rounds", "1", "--seconds", "0.05", "--peers", "kernel", "--mtu", "1500"]);
    // Two pinnings of five loads and of seven message sizes with five percentiles each.
    assert_eq!(figures.len(), 2 * (5 + 7 * 5));
    for figure in figures {
        let series = &figure["series"][0];
        assert!(series["median"].as_f64().unwrap() > 0.0, "{figure}");
        assert!(series.get("failed").is_none(), "{figure}");
    }
}

#[test]
fn a_network_that_does_not_start_is_a_failure_of_its_rounds() {
    let figures = figures(&[
        "programs",
        "--rounds",
        "2",
        "--seconds",
        "0.05",
        "--peers",
        "kernel,wireway",
        "--only",
        "one-byte",
        "--mtu",
        "1500",
        "--cores",
        "1",
        "--wireway",
        "/nonexistent",
    ]);
    let series = &figures[0]["series"];
    assert!(series[0]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(series[1]["failed"][0], 2);
}

#[test]
fn the_loops_run_every_stack() {
    // Bytes of the bulk measurements, then round trips and connections.
    for (only, work, count) in [("bulk", "100000", 3), ("o", "10", 2)] {
        let figures = figures(&["stacks", "--work", work, "--only", only, "--rounds", "1"]);
        assert_eq!(figures.len(), count);
        for figure in figures {
            for series in figure["series"].as_array().unwrap() {
                assert!(series["median"].as_f64().unwrap() > 0.0, "{figure}");
            }
        }
    }
}
