//! The scenarios: their names, what each sends, and which leases must be there before.

use std::sync::Arc;

use super::{
    Failure,
    site::{Lease, Site},
    source::{Mixed, Source, Step},
};

/// Leases that redeem, renew and read go round over, and that a list shows.
const STANDING_LEASES: u64 = 512;
/// Leases for each connection that releases, and at least how many in all: enough that filling the stock up and
/// starting the connections is little beside releasing it.
const STOCK_PER_CONNECTION: u64 = 256;
const MIN_STOCK: u64 = 512;
/// Leases that each connection of the mix begins with.
const FIRST_OF_MIX: u64 = 16;

/// What the mix does, over and over: 70 % redeem, 20 % issue, 10 % release.
const MIX: &[Step] = {
    use Step::{Issue, Redeem, Release};
    &[
        Redeem, Issue, Redeem, Redeem, Release, Redeem, Redeem, Issue, Redeem, Redeem,
    ]
};

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Grants, spread over the credentials.
    Issue,
    /// Grants that show the value.
    IssueReveal,
    /// Handles exchanged for the value.
    Redeem,
    /// Extensions of open leases.
    Renew,
    /// Open leases given back.
    Release,
    /// 70 % redeem, 20 % issue, 10 % release.
    Mixed,
    /// Grants, all on one credential.
    Hot,
    /// The first page of all leases, of which there are 512.
    List,
    /// One lease by its id.
    Read,
}

impl Scenario {
    /// Every scenario, in the order of a full run.
    pub const ALL: [Self; 9] = [
        Self::Issue,
        Self::IssueReveal,
        Self::Redeem,
        Self::Renew,
        Self::Release,
        Self::Mixed,
        Self::Hot,
        Self::List,
        Self::Read,
    ];

    /// The scenario's name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::IssueReveal => "issue-reveal",
            Self::Redeem => "redeem",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Mixed => "mixed",
            Self::Hot => "hot",
            Self::List => "list",
            Self::Read => "read",
        }
    }

    /// Whether every request uses a lease up, so that the stock has to be filled again and again.
    pub(super) fn consumes(self) -> bool {
        self == Self::Release
    }

    /// Whether each measurement needs leases of its own, because the one before it closed some.
    pub(super) fn closes(self) -> bool {
        matches!(self, Self::Release | Self::Mixed)
    }

    /// How many open leases the scenario begins with.
    pub(super) fn leases_before(self, connections: usize) -> u64 {
        let connections = connections as u64;
        match self {
            Self::Issue | Self::IssueReveal | Self::Hot => 0,
            Self::Redeem | Self::Renew | Self::List | Self::Read => STANDING_LEASES,
            Self::Release => MIN_STOCK.max(connections * STOCK_PER_CONNECTION),
            Self::Mixed => connections * FIRST_OF_MIX,
        }
    }

    /// What each connection sends to `site`, given the leases. `once` is for a vault, where a released lease is
    /// gone; else the requests go round.
    pub(super) fn sources(
        self,
        site: &Site,
        leases: &[Lease],
        connections: usize,
        once: bool,
    ) -> Result<Vec<Source>, Failure> {
        let requests: Vec<Vec<u8>> = match self {
            Self::Issue => site.issues(false),
            Self::IssueReveal => site.issues(true),
            Self::Hot => site.issues(false).into_iter().take(1).collect(),
            Self::Redeem => leases.iter().map(|lease| site.redeem(lease)).collect(),
            Self::Renew => leases.iter().map(|lease| site.renew(lease)).collect(),
            Self::Release => leases.iter().map(|lease| site.release(lease)).collect(),
            Self::Read => leases.iter().map(|lease| site.read(lease)).collect(),
            Self::List => vec![site.list()],
            Self::Mixed => {
                let mut shares = leases.chunks((leases.len() / connections).max(1));
                let issues = Arc::new(site.issues(false));
                let mix = |at| {
                    let share = shares.next().ok_or("too few leases for the mix")?;
                    let mixed = Mixed::new(site, issues.clone(), MIX, at, share.to_vec());
                    Ok(Source::Mixed(mixed))
                };
                return (0..connections).map(mix).collect();
            }
        };
        if requests.is_empty() {
            return Err("there is nothing to send".into());
        }
        let status = match self {
            Self::Issue | Self::IssueReveal | Self::Hot => 201,
            _ => 200,
        };
        if once && self.consumes() {
            return Ok(Source::stock(requests, status, connections));
        }
        let requests = Arc::new(requests);
        // Connections start apart, so that they do not all ask for the same thing at the same time.
        let apart = (requests.len() / connections).max(1);
        let round = |n| Source::round(requests.clone(), n * apart, status);
        Ok((0..connections).map(round).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_what_it_says() {
        let share = |step| MIX.iter().filter(|other| **other == step).count() * 100 / MIX.len();
        assert_eq!(
            [
                share(Step::Redeem),
                share(Step::Issue),
                share(Step::Release)
            ],
            [70, 20, 10]
        );
    }
}
