//! Programs that the tests compile, once, into the build's directory for temporary files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::scene::Scene;

const TARGET: &str = env!("CARGO_TARGET_TMPDIR");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e");

/// The course's client and server, in the scene's directory; statically linked or not.
pub fn course(scene: &Scene, is_static: bool) -> (PathBuf, PathBuf) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/course");
    let mut command = Command::new("make");
    command.arg("-s").arg("-C").arg(source).arg(format!("OUT={}", scene.directory().display()));
    command.arg("CFLAGS=-O2 -Werror");
    if is_static {
        command.arg("LDFLAGS=-static");
    }
    run(&mut command);
    (scene.path("client"), scene.path("server"))
}

/// The Go program `go/main.go`, statically linked as Go does without cgo, copied into the scene's directory.
pub fn go(scene: &Scene) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let out = Path::new(TARGET).join("go-program");
        let mut command = Command::new("/usr/bin/go");
        command
            .args(["build", "-o"])
            .arg(&out)
            .arg("main.go")
            .current_dir(format!("{TESTS}/go"))
            .env("CGO_ENABLED", "0")
            .env("GO111MODULE", "off")
            .env("GOFLAGS", "")
            .env("GOCACHE", format!("{TARGET}/go-cache"));
        run(&mut command);
        out
    });
    copy(scene, built)
}

/// `java Program`, compiled from `java/Program.java`: the words of a command, in a directory that every user may enter.
pub fn java(scene: &Scene) -> [String; 5] {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let out = Path::new(TARGET).join("java");
        let mut command = Command::new("/usr/bin/javac");
        run(command.args(["-Xlint:all", "-Werror", "-d"]).arg(&out).arg(format!("{TESTS}/java/Program.java")));
        out
    });
    super::scene::copy(&built.join("Program.class"), &scene.path("Program.class"));
    let directory = scene.directory().display().to_string();
    // Without the files under /tmp by which Java tells of itself.
    ["/usr/bin/java", "-XX:-UsePerfData", "-cp", &directory, "Program"].map(str::to_owned)
}

/// The C program `c/NAME.c`, statically linked and at a fixed address, in the scene's directory.
pub fn c(scene: &Scene, name: &str) -> PathBuf {
    let mut command = Command::new("cc");
    command.args(["-static", "-no-pie", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(scene.path(name));
    run(command.arg(format!("{TESTS}/c/{name}.c")));
    scene.path(name)
}

fn copy(scene: &Scene, program: &Path) -> PathBuf {
    let to = scene.path(program.file_name().and_then(|name| name.to_str()).expect("a name"));
    super::scene::copy(program, &to);
    to
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
