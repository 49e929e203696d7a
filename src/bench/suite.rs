//! Every scenario at every number of connections, the vault and the baseline by turns.

use std::sync::Arc;

use super::{
    Failure,
    args::{Rate, SuiteArgs},
    client::Peer,
    measure::{Measurement, Sample},
    note,
    report::{AtRate, Report, Row},
    scenario::Scenario,
    server::{Baseline, Folder, OwnKeys, Vault},
    site::Site,
    target::Remote,
};

/// What the credentials are called in a vault of our own.
const OWN_PREFIX: &str = "bench";

/// Where the vault that is measured comes from.
pub(super) enum Target {
    /// A new one for each scenario and number of connections, so that none starts with another's leases.
    Own,
    /// One that runs already, with the credentials stored.
    Remote(Remote),
}

/// Runs the suite.
pub(super) async fn run(args: &SuiteArgs, target: &Target) -> Result<Report, Failure> {
    let vault = &args.vault;
    let first_name = match target {
        Target::Own => own_site("", &OwnKeys::default(), 0, vault.credentials).first_name(),
        Target::Remote(remote) => remote.site.first_name(),
    };
    let baseline = Baseline::start(&first_name, vault.value_bytes).await?;
    let mut report = Report::of(args);
    for scenario in &args.scenario.0 {
        for connections in &args.connections.0 {
            let row = match target {
                Target::Remote(remote) => {
                    cell(args, *scenario, *connections, &remote.site, &baseline).await?
                }
                Target::Own => {
                    let folder = Folder::make(vault.dir.as_deref())?;
                    let server = Vault::start(&folder, None).await?;
                    let keys = server.keys()?;
                    let site = own_site(&server.address, keys, server.pid(), vault.credentials);
                    site.store_credentials(vault.value_bytes).await?;
                    cell(args, *scenario, *connections, &site, &baseline).await?
                }
            };
            report.rows.push(row);
        }
    }
    Ok(report)
}

/// The site of a vault of our own.
pub(super) fn own_site(address: &str, keys: &OwnKeys, pid: u32, credentials: u32) -> Site {
    Site {
        peer: Peer {
            address: address.to_owned(),
            workspace: None,
        },
        admin: keys.admin.clone(),
        agent: keys.agent.clone(),
        pid: Some(pid),
        prefix: Arc::from(OWN_PREFIX),
        credentials,
    }
}

async fn cell(
    args: &SuiteArgs,
    scenario: Scenario,
    connections: usize,
    site: &Site,
    baseline: &Baseline,
) -> Result<Row, Failure> {
    let name = scenario.name();
    note(&format!("{name} at {connections} connections"));
    let leases = site.prepare(scenario.leases_before(connections)).await?;
    let bare_site = site.at(&baseline.address, baseline.pid());
    let on = |site, vault| Measurement {
        scenario,
        connections,
        site,
        leases: &leases,
        vault,
    };
    let (vault, bare) = (on(site, true), on(&bare_site, false));
    let (mut of_vault, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        of_bare.push(bare.closed(args.warm_up, args.duration).await?);
        of_vault.push(vault.closed(args.warm_up, args.duration).await?);
    }
    let (of_vault, of_bare) = (median(of_vault)?, median(of_bare)?);
    let at_rate = match args.rate {
        None => None,
        Some(rate) => {
            let rate = match rate {
                Rate::Half => (of_vault.per_second / 2.0).max(1.0),
                Rate::PerSecond(rate) => f64::from(rate),
            };
            let bare = bare.at_rate(rate, args.warm_up, args.duration).await?;
            let vault = vault.at_rate(rate, args.warm_up, args.duration).await?;
            Some(AtRate {
                rate,
                vault,
                baseline: bare,
            })
        }
    };
    Ok(Row {
        scenario: name,
        connections,
        ratio: of_vault.per_second / of_bare.per_second,
        vault: of_vault,
        baseline: of_bare,
        at_rate,
    })
}

/// The round in the middle, by throughput.
fn median(mut rounds: Vec<Sample>) -> Result<Sample, Failure> {
    rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    let middle = rounds.len() / 2;
    let median = rounds.into_iter().nth(middle);
    median.ok_or_else(|| "no round was measured".into())
}
