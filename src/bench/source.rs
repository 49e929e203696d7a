//! Where one connection's next request comes from. Requests are built beforehand wherever they can be.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use super::site::{Lease, Site};

/// Leases that a connection of a mix remembers; over it, it forgets the oldest and leaves them open.
const MAX_REMEMBERED: usize = 4096;

/// What one connection sends.
pub(super) enum Source {
    /// The same requests, round and round.
    Round {
        requests: Arc<Vec<Vec<u8>>>,
        at: usize,
        status: u16,
    },
    /// Each request once, shared with the other connections.
    Stock {
        requests: Arc<Vec<Vec<u8>>>,
        next: Arc<AtomicUsize>,
        status: u16,
    },
    /// Grants until so many were asked for in all; `made` keeps them where they are wanted.
    Grants {
        requests: Arc<Vec<Vec<u8>>>,
        at: usize,
        left: Arc<AtomicI64>,
        made: Option<Vec<Lease>>,
    },
    /// Several kinds by turns, on leases of its own.
    Mixed(Mixed),
}

impl Source {
    pub(super) fn round(requests: Arc<Vec<Vec<u8>>>, from: usize, status: u16) -> Self {
        Self::Round {
            requests,
            at: from,
            status,
        }
    }

    /// The sources of so many connections that share one stock.
    pub(super) fn stock(requests: Vec<Vec<u8>>, status: u16, connections: usize) -> Vec<Self> {
        let requests = Arc::new(requests);
        let next = Arc::new(AtomicUsize::new(0));
        let share = |_| Self::Stock {
            requests: requests.clone(),
            next: next.clone(),
            status,
        };
        (0..connections).map(share).collect()
    }

    /// The next request and the status that its answer must have; none when all is used up.
    pub(super) fn next(&mut self) -> Option<(&[u8], u16)> {
        match self {
            Self::Round {
                requests,
                at,
                status,
            } => {
                let request = turn(requests, at)?;
                Some((request, *status))
            }
            Self::Stock {
                requests,
                next,
                status,
            } => {
                let request = requests.get(next.fetch_add(1, Ordering::Relaxed))?;
                Some((request, *status))
            }
            Self::Grants {
                requests, at, left, ..
            } => {
                if left.fetch_sub(1, Ordering::Relaxed) <= 0 {
                    return None;
                }
                Some((turn(requests, at)?, 201))
            }
            Self::Mixed(mixed) => mixed.next(),
        }
    }

    /// Learns from a good answer what later requests need.
    pub(super) fn answered(&mut self, body: &[u8]) {
        match self {
            Self::Grants {
                made: Some(made), ..
            } => made.extend(Lease::read(body)),
            Self::Mixed(mixed) => mixed.answered(body),
            _ => {}
        }
    }

    /// The leases that were made.
    pub(super) fn into_made(self) -> Vec<Lease> {
        match self {
            Self::Grants { made, .. } => made.unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

fn turn<'a>(requests: &'a [Vec<u8>], at: &mut usize) -> Option<&'a [u8]> {
    let request = requests.get(*at % requests.len().max(1))?;
    *at = at.wrapping_add(1);
    Some(request)
}

/// One kind of request in a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Issue,
    Redeem,
    Release,
}

/// Steps over and over, on leases that this connection issued itself.
pub(super) struct Mixed {
    site: Site,
    steps: &'static [Step],
    at: usize,
    issues: Arc<Vec<Vec<u8>>>,
    issued: usize,
    leases: VecDeque<Lease>,
    last: Step,
    request: Vec<u8>,
    /// How many requests all connections together may still send, where that is bounded.
    left: Option<Arc<AtomicI64>>,
}

impl Mixed {
    /// Begins at step and grant `from`, with these open leases.
    pub(super) fn new(
        site: &Site,
        issues: Arc<Vec<Vec<u8>>>,
        steps: &'static [Step],
        from: usize,
        leases: Vec<Lease>,
    ) -> Self {
        Self {
            site: site.clone(),
            steps,
            at: from,
            issues,
            issued: from,
            leases: leases.into(),
            last: Step::Issue,
            request: Vec::new(),
            left: None,
        }
    }

    /// Ends once all that share `left` sent so many requests.
    pub(super) fn bounded(self, left: Arc<AtomicI64>) -> Self {
        let left = Some(left);
        Self { left, ..self }
    }

    fn next(&mut self) -> Option<(&[u8], u16)> {
        // A release is never left out at the end: the count may be exceeded by one for each connection.
        if let Some(left) = &self.left
            && left.fetch_sub(1, Ordering::Relaxed) <= 0
            && (self.leases.is_empty() || self.last == Step::Release)
        {
            return None;
        }
        self.last = self.steps.get(self.at % self.steps.len().max(1)).copied()?;
        self.at = self.at.wrapping_add(1);
        let (request, status): (&[u8], _) = match self.last {
            Step::Issue => (turn(&self.issues, &mut self.issued)?, 201),
            Step::Redeem => {
                let lease = self.leases.pop_front()?;
                self.request = self.site.redeem(&lease);
                self.leases.push_back(lease);
                (&self.request, 200)
            }
            Step::Release => {
                self.request = self.site.release(&self.leases.pop_front()?);
                (&self.request, 200)
            }
        };
        Some((request, status))
    }

    fn answered(&mut self, body: &[u8]) {
        if self.last == Step::Issue {
            self.leases.extend(Lease::read(body));
            if self.leases.len() > MAX_REMEMBERED {
                self.leases.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site::sample()
    }

    fn path(request: Option<(&[u8], u16)>) -> Option<(String, u16)> {
        let (request, status) = request?;
        let line = std::str::from_utf8(request).unwrap().lines().next()?;
        Some((line.to_owned(), status))
    }

    const ISSUED: &[u8] =
        br#"{"status":"success","data":{"id":"lse_1","credential_name":"c","handle":"lhh_1"}}"#;

    #[test]
    fn a_stock_is_used_up_once_by_all_together() {
        let mut shares = Source::stock(vec![vec![1], vec![2], vec![3]], 200, 2);
        let (mut other, mut one) = (shares.pop().unwrap(), shares.pop().unwrap());
        let mut seen = Vec::new();
        while let Some((request, 200)) = one.next() {
            seen.extend_from_slice(request);
            seen.extend(other.next().map(|(request, _)| request[0]));
        }
        assert_eq!(seen, [1, 2, 3]);
        assert!(other.next().is_none());
    }

    #[test]
    fn a_mix_releases_what_it_issued_and_ends_with_nothing_open() {
        let left = Arc::new(AtomicI64::new(3));
        let steps = &[Step::Issue, Step::Release];
        let issues = Arc::new(site().issues(false));
        let mixed = Mixed::new(&site(), issues, steps, 0, Vec::new());
        let mut mixed = Source::Mixed(mixed.bounded(left));
        let issue = Some(("POST /v1/leases HTTP/1.1".to_owned(), 201));
        let release = Some(("POST /v1/leases/lse_1/release HTTP/1.1".to_owned(), 200));
        for _ in 0..2 {
            assert_eq!(path(mixed.next()), issue);
            mixed.answered(ISSUED);
            assert_eq!(path(mixed.next()), release);
            mixed.answered(b"{}");
        }
        assert_eq!(path(mixed.next()), None);
    }

    #[test]
    fn grants_end_at_their_number_and_are_kept() {
        let left = Arc::new(AtomicI64::new(2));
        let mut grants = Source::Grants {
            requests: Arc::new(site().issues(false)),
            at: 0,
            left,
            made: Some(Vec::new()),
        };
        while grants.next().is_some() {
            grants.answered(ISSUED);
        }
        let made = grants.into_made();
        assert_eq!(made.len(), 2);
        assert_eq!((&*made[0].id, &*made[0].handle), ("lse_1", "lhh_1"));
    }
}
