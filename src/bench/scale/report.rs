//! The figures of a run, each beside its target where it has one.

use serde::Serialize;

use super::super::{
    Failure,
    args::ScaleArgs,
    report::{size, table, time},
};

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::Below(bound) => value < bound,
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::Below(bound) => format!("< {}", shown(bound, unit)),
            Self::AtMost(bound) => format!("<= {}", shown(bound, unit)),
            Self::AtLeast(bound) => format!(">= {}", shown(bound, unit)),
        }
    }
}

/// Something measured.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// As text: a bound and its direction.
    target: Option<String>,
    met: Option<bool>,
}

/// What was measured so far, in order.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Figure>);

impl Figures {
    pub(super) fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.0.push(Figure {
            name,
            value,
            unit,
            target: None,
            met: None,
        });
    }

    /// A figure that has a target.
    pub(super) fn aim(&mut self, name: &'static str, value: f64, unit: &'static str, at: Target) {
        self.0.push(Figure {
            name,
            value,
            unit,
            target: Some(at.text(unit)),
            met: Some(at.met(value)),
        });
    }
}

/// What the vault takes after so many cycles.
#[derive(Debug, Serialize)]
pub(super) struct Growth {
    pub(super) cycles: u64,
    pub(super) disk_bytes: u64,
    pub(super) rss_bytes: u64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct ScaleReport {
    leases: u64,
    credentials: u32,
    expiring: u64,
    cycles: u64,
    connections: u16,
    /// How long closed leases and history are kept; none for the defaults.
    retention: Option<String>,
    figures: Vec<Figure>,
    growth: Vec<Growth>,
}

impl ScaleReport {
    pub(super) fn new(args: &ScaleArgs, figures: Figures, growth: Vec<Growth>) -> Self {
        Self {
            leases: args.leases,
            credentials: args.credentials,
            expiring: args.expiring,
            cycles: args.cycles,
            connections: args.connections,
            retention: args
                .retention
                .map(|kept| humantime::format_duration(kept).to_string()),
            figures: figures.0,
            growth,
        }
    }

    pub(crate) fn json(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string(self)?)
    }

    pub(crate) fn text(&self) -> String {
        let mut figures = table(&["figure", "measured", "target", ""]);
        for figure in &self.figures {
            figures.add_row([
                figure.name.to_owned(),
                shown(figure.value, figure.unit),
                figure.target.clone().unwrap_or_default(),
                match figure.met {
                    None => "",
                    Some(true) => "met",
                    Some(false) => "missed",
                }
                .to_owned(),
            ]);
        }
        let mut growth = table(&["cycles", "disk", "memory"]);
        for step in &self.growth {
            growth.add_row([
                step.cycles.to_string(),
                size(step.disk_bytes),
                size(step.rss_bytes),
            ]);
        }
        let kept = match &self.retention {
            None => {
                "History is kept for ever, and closed leases for a day: what each cycle adds stays"
                    .to_owned()
            }
            Some(kept) => format!(
                "Closed leases and history go {kept} after they ended, but for the newest 8,192 sealed records"
            ),
        };
        format!(
            "{} open leases over {} credentials, {} expiring together, {} cycles, {} connections.\n\n{}\n\n\
             {kept}.\n\n{}\n",
            self.leases,
            self.credentials,
            self.expiring,
            self.cycles,
            self.connections,
            figures.trim_fmt(),
            growth.trim_fmt()
        )
    }
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "us" => time(value),
        "bytes" if value >= 1024.0 * 1024.0 => size(value as u64),
        "bytes" => format!("{value:.0} bytes"),
        "s" => format!("{value:.2} s"),
        "/s" => format!("{value:.0}/s"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_or_missed_at_its_bound() {
        for (target, value, met) in [
            (Target::Below(2.0), 2.0, false),
            (Target::Below(2.0), 1.99, true),
            (Target::AtMost(2.0), 2.0, true),
            (Target::AtMost(2.0), 2.01, false),
            (Target::AtLeast(0.8), 0.8, true),
            (Target::AtLeast(0.8), 0.79, false),
        ] {
            assert_eq!(target.met(value), met, "{target:?} {value}");
        }
        assert_eq!(
            Target::Below(1024.0 * 1024.0 * 1024.0).text("bytes"),
            "< 1.00 GiB"
        );
        assert_eq!(Target::AtLeast(20_000.0).text("/s"), ">= 20000/s");
    }
}
