//! What can be said on the command line, read into types that hold their bounds.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::scenario::Scenario;

/// The most connections of one run: beyond it the file descriptors of one process run out.
const MAX_CONNECTIONS: usize = 4096;
/// The longest that one measurement may take.
const MAX_DURATION: Duration = Duration::from_secs(3600);

/// Arguments of `leasehold bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub part: Option<BenchCommand>,
    #[command(flatten)]
    pub suite: SuiteArgs,
}

/// What else can be measured.
#[derive(Debug, clap::Subcommand)]
pub enum BenchCommand {
    /// Measure a vault with very many leases: its start, memory, grants, the backlog of a common expiry, growth
    Scale(ScaleArgs),
}

/// How requests are measured.
#[derive(Debug, Clone, clap::Args)]
pub struct SuiteArgs {
    /// What to measure, separated by commas: issue, issue-reveal, redeem, renew, release, mixed (70% redeem, 20%
    /// issue, 10% release), hot (issue, all on one credential), list, read; or all
    #[arg(long, value_name = "NAMES", default_value = "all")]
    pub scenario: Scenarios,
    /// At how many connections, separated by commas
    #[arg(long, value_name = "COUNTS", default_value = "1,16,64,256")]
    pub connections: Connections,
    /// How long each measurement takes
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = duration)]
    pub duration: Duration,
    /// How long requests are sent before each measurement
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = warm_up)]
    pub warm_up: Duration,
    /// How often each measurement is repeated, vault and baseline by turns; the median counts
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub rounds: u16,
    /// Also measure latency at a fixed arrival rate: so many requests a second, or `half` of what the vault
    /// can do. Counted from when a request was due, so that a stall counts for every request it held up
    #[arg(long, value_name = "RATE|half")]
    pub rate: Option<Rate>,
    #[command(flatten)]
    pub vault: VaultArgs,
}

/// The vault that is measured, and what is put into it.
#[derive(Debug, Clone, clap::Args)]
pub struct VaultArgs {
    /// How many credentials the leases are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credentials: u32,
    /// The length of each credential's value
    #[arg(long, value_name = "BYTES", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub value_bytes: u32,
    /// Where the temporary data folder is made; the disk below it is the one that is measured [default: the
    /// system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Arguments of `leasehold bench scale`.
#[derive(Debug, Clone, clap::Args)]
pub struct ScaleArgs {
    /// How many leases are open when the vault is stopped and started again
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub leases: u64,
    /// How many credentials they are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub credentials: u32,
    /// How many leases expire within the same second
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub expiring: u64,
    /// How many leases are issued and released at the end. The goal speaks of 10,000,000: mind the disk and the
    /// time, and see --retention
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub cycles: u64,
    /// How long closed leases and history are kept [default: leases a day, history for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub retention: Option<Duration>,
    /// How many connections the requests are sent on
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub connections: u16,
    /// How long each measurement of grants takes
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = duration)]
    pub duration: Duration,
    /// The length of each credential's value
    #[arg(long, value_name = "BYTES", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub value_bytes: u32,
    /// Where the temporary data folder is made [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Arguments of the hidden `leasehold bench-baseline`.
#[derive(Debug, Clone, clap::Args)]
pub struct BaselineArgs {
    /// The length of the value in answers that show one
    #[arg(long)]
    pub value_bytes: u32,
    /// The name of the credential in answers
    #[arg(long)]
    pub credential: String,
}

/// The scenarios to run, in the order given, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenarios(pub Vec<Scenario>);

impl FromStr for Scenarios {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Scenario::ALL.to_vec()));
        }
        let mut chosen = Vec::new();
        for name in text.split(',') {
            let found = Scenario::ALL
                .into_iter()
                .find(|scenario| scenario.name() == name);
            let scenario = found.ok_or_else(|| {
                let names = Scenario::ALL.map(Scenario::name).join(", ");
                format!("`{name}` is no scenario; there are {names}, and all")
            })?;
            if !chosen.contains(&scenario) {
                chosen.push(scenario);
            }
        }
        Ok(Self(chosen))
    }
}

/// The numbers of connections to run at, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connections(pub Vec<usize>);

impl FromStr for Connections {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |count: &str| match count.parse() {
            Ok(count) if (1..=MAX_CONNECTIONS).contains(&count) => Ok(count),
            _ => Err(format!("`{count}` is not between 1 and {MAX_CONNECTIONS}")),
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

/// A fixed arrival rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Half of what the vault was measured to do.
    Half,
    /// Requests a second.
    PerSecond(u32),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("half", _) => Ok(Self::Half),
            (_, Ok(rate @ 1..=1_000_000)) => Ok(Self::PerSecond(rate)),
            _ => Err("must be `half` or requests a second, from 1 to 1000000".to_owned()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Half => f.write_str("half"),
            Self::PerSecond(rate) => write!(f, "{rate}"),
        }
    }
}

fn warm_up(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err("must be at most one hour".to_owned()),
        Err(_) => Err("must be a duration such as `500ms`, `8s` or `1m`".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    warm_up(text).and_then(|duration| match duration {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_read_once_each_and_in_order() {
        let read = |text: &str| text.parse::<Scenarios>();
        assert_eq!(
            read("redeem,issue,redeem").unwrap().0,
            [Scenario::Redeem, Scenario::Issue]
        );
        assert_eq!(read("all").unwrap().0, Scenario::ALL);
        assert!(
            read("issue,nonsense")
                .unwrap_err()
                .starts_with("`nonsense` is no scenario; there are issue,")
        );
        assert!(read("").is_err() && read("all,issue").is_err());
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        assert_eq!("1,256".parse::<Connections>().unwrap().0, [1, 256]);
        for text in ["0", "", "1,,2", "4097", "-1", "two"] {
            assert!(text.parse::<Connections>().is_err(), "{text}");
        }
        assert_eq!("half".parse(), Ok(Rate::Half));
        assert_eq!("5000".parse(), Ok(Rate::PerSecond(5000)));
        for text in ["0", "1000001", "Half", "1.5"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(warm_up("0s"), Ok(Duration::ZERO));
        for text in ["0s", "8", "61m", "fast"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
