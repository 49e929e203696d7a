//! What is printed at the end: a table for people, JSON for programs.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use super::{
    Failure,
    args::SuiteArgs,
    measure::{Quantiles, Sample},
};

/// What stands for a figure that could not be had.
const NOTHING: &str = "-";

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    rounds: u16,
    duration_seconds: f64,
    warm_up_seconds: f64,
    credentials: u32,
    value_bytes: u32,
    #[serde(rename = "results")]
    pub(super) rows: Vec<Row>,
}

/// One scenario at one number of connections. Each side is its median round.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) scenario: &'static str,
    pub(super) connections: usize,
    /// In a closed loop: latency counts from when a request was sent.
    pub(super) vault: Sample,
    pub(super) baseline: Sample,
    /// The vault's throughput over the baseline's.
    pub(super) ratio: f64,
    pub(super) at_rate: Option<AtRate>,
}

/// At a fixed arrival rate: latency counts from when a request was due.
#[derive(Debug, Serialize)]
pub(super) struct AtRate {
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) vault: Sample,
    pub(super) baseline: Sample,
}

impl Report {
    pub(super) fn of(args: &SuiteArgs) -> Self {
        Self {
            rounds: args.rounds,
            duration_seconds: args.duration.as_secs_f64(),
            warm_up_seconds: args.warm_up.as_secs_f64(),
            credentials: args.vault.credentials,
            value_bytes: args.vault.value_bytes,
            rows: Vec::new(),
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string(self)?)
    }

    pub(super) fn text(&self) -> String {
        let mut rows = table(&[
            "scenario", "conns", "vault/s", "bare/s", "ratio", "p50", "p99", "p99.9", "bare p99",
            "CPU/req", "RSS",
        ]);
        for row in &self.rows {
            rows.add_row(line(row, &row.vault, &row.baseline, Some(row.ratio)));
        }
        let mut text = format!(
            "Vault and bare handlers by turns, median of {} rounds of {} s, {} credentials with values of {} bytes.\n\
             Closed loop: each connection waits for its answer; latency counts from when a request was sent.\n\n{}\n",
            self.rounds,
            self.duration_seconds,
            self.credentials,
            self.value_bytes,
            rows.trim_fmt()
        );
        let fixed: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| row.at_rate.as_ref().map(|at_rate| (row, at_rate)))
            .collect();
        if !fixed.is_empty() {
            let mut rows = table(&[
                "scenario", "conns", "vault/s", "bare/s", "asked/s", "p50", "p99", "p99.9",
                "bare p99", "CPU/req", "RSS",
            ]);
            for (row, at_rate) in fixed {
                let mut line = line(row, &at_rate.vault, &at_rate.baseline, None);
                if let Some(cell) = line.get_mut(4) {
                    *cell = format!("{:.0}", at_rate.rate);
                }
                rows.add_row(line);
            }
            text.push_str(&format!(
                "\nFixed arrival rate: latency counts from when a request was due, so a stall counts for all it held up.\n\n{}\n",
                rows.trim_fmt()
            ));
        }
        text
    }
}

/// An empty table, numbers to the right.
pub(super) fn table(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_header(titles);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(row: &Row, vault: &Sample, bare: &Sample, ratio: Option<f64>) -> Vec<String> {
    let Quantiles {
        p50_us,
        p99_us,
        p999_us,
    } = vault.latency;
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
    vec![
        row.scenario.to_owned(),
        row.connections.to_string(),
        format!("{:.0}", vault.per_second),
        format!("{:.0}", bare.per_second),
        or_nothing(ratio.map(|ratio| format!("{ratio:.3}"))),
        time(p50_us),
        time(p99_us),
        time(p999_us),
        time(bare.latency.p99_us),
        or_nothing(vault.cpu_us_per_answer.map(time)),
        or_nothing(vault.rss_bytes.map(size)),
    ]
}

/// Microseconds, as people read them.
pub(super) fn time(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e5 => format!("{:.2} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// Bytes, as people read them.
pub(super) fn size(bytes: u64) -> String {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    match mib {
        ..1024.0 => format!("{mib:.0} MiB"),
        _ => format!("{:.2} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (micros, text) in [
            (12.3, "12 us"),
            (1234.0, "1.23 ms"),
            (123_456.0, "123 ms"),
            (1.5e6, "1.50 s"),
        ] {
            assert_eq!(time(micros), text);
        }
        assert_eq!(size(3 << 20), "3 MiB");
        assert_eq!(size(3 << 29), "1.50 GiB");
    }
}
