//! Medians, ratios, a table for people and JSON for programs.

use serde::Serialize;
use std::io::{self, Write};

/// The samples of one contender in one measurement.
#[derive(Serialize, Clone)]
pub struct Series {
    name: String,
    samples: Vec<f64>,
    median: f64,
    /// Rounds that gave no sample, and why the last of them did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<(usize, String)>,
}

impl Series {
    /// No samples yet.
    pub fn new(name: impl Into<String>) -> Self {
        Series { name: name.into(), samples: Vec::new(), median: f64::NAN, failed: None }
    }

    /// Adds the sample of one round.
    pub fn push(&mut self, sample: f64) {
        self.samples.push(sample);
        self.median = median(&self.samples);
    }

    /// Records that one round gave no sample.
    pub fn fail(&mut self, why: impl Into<String>) {
        let before = self.failed.as_ref().map_or(0, |failed| failed.0);
        self.failed = Some((before + 1, why.into()));
    }

    fn complaint(&self) -> Option<String> {
        let (count, why) = self.failed.as_ref()?;
        let all = count + self.samples.len();
        Some(format!("{count} of {all} rounds failed: {why}"))
    }
}

/// One measurement of all contenders.
#[derive(Serialize, Clone)]
pub struct Figure {
    name: String,
    unit: &'static str,
    series: Vec<Series>,
}

impl Figure {
    /// A measurement whose first contender is the one that others are compared with.
    pub fn new(name: impl Into<String>, unit: &'static str, series: Vec<Series>) -> Self {
        Figure { name: name.into(), unit, series }
    }
}

/// The middle value, or the mean of the two in the middle; not a number if there is none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(&value), 1) => value,
        (Some(&upper), _) => {
            let lower = middle.checked_sub(1).and_then(|index| sorted.get(index)).unwrap_or(&upper);
            (lower + upper) / 2.0
        }
    }
}

/// A number as people read it: three significant digits and a prefix.
pub fn human(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let (scaled, prefix) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e3 => (value / 1e3, " k"),
        _ => (value, " "),
    };
    let digits = match scaled.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{prefix}")
}

/// Prints figures as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub fn json(figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, figures)?;
    writeln!(out)
}

/// Prints one figure as a table: median, range of the samples, and the ratio to the first contender.
///
/// # Errors
/// Standard output cannot be written.
pub fn table(figure: &Figure) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", figure.name)?;
    let base = figure.series.first().map_or(f64::NAN, |first| first.median);
    for series in &figure.series {
        if let Some(complaint) = series.complaint() {
            writeln!(out, "  {:<28} {complaint}", series.name)?;
        }
        if series.samples.is_empty() {
            continue;
        }
        let low = series.samples.iter().copied().fold(f64::NAN, f64::min);
        let high = series.samples.iter().copied().fold(f64::NAN, f64::max);
        writeln!(
            out,
            "  {:<28} {:>12}{:<8} {:>9} to {:<9} {:>6.2} x",
            series.name,
            human(series.median),
            figure.unit,
            human(low).trim_end(),
            human(high).trim_end(),
            series.median / base,
        )?;
    }
    Ok(())
}

/// Prints figures of the same contenders as one table: a line for each figure, named by the last parts
/// of its name, a column for each contender.
///
/// # Errors
/// Standard output cannot be written.
pub fn grid(name: &str, figures: &[Figure]) -> io::Result<()> {
    let Some(first) = figures.first() else {
        return Ok(());
    };
    let mut out = io::stdout().lock();
    write!(out, "{name}\n  {:<22}", first.unit)?;
    for series in &first.series {
        write!(out, " {:>16}", series.name)?;
    }
    writeln!(out)?;
    for figure in figures {
        let label = figure.name.strip_prefix(name).unwrap_or(&figure.name);
        write!(out, "  {:<22}", label.trim_start_matches([',', ' ']))?;
        for series in &figure.series {
            match series.samples.is_empty() {
                true => write!(out, " {:>16}", "-")?,
                false => write!(out, " {:>16.1}", series.median)?,
            }
        }
        writeln!(out)?;
    }
    for series in &first.series {
        if let Some(complaint) = series.complaint() {
            writeln!(out, "  {}: {complaint}", series.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(human(4_912_345_678.0), "4.91 G");
        assert_eq!(human(512_345.0), "512 k");
        assert_eq!(human(f64::NAN), "-");
    }
}
