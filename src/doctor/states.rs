//! A credential's ledger against its lease records, its versions and their values: the counters, and the
//! states that follow from them.

use super::{
    Kind, Mend,
    exam::{Exam, Open, of_credential},
};
use crate::{
    domain::{
        credential::VersionState,
        id::{CredentialId, WorkspaceId},
        ledger::{Ledger, Stage},
        policy::Delivery,
    },
    store::key,
    tables::{Read, Tables},
};

/// What is wrong, by the version where it is with one, and how it is mended.
type Wrong = (Kind, Option<u32>, String, Option<Fix>);

#[derive(Clone, Copy)]
enum Fix {
    /// With all the others of the credential.
    Recount,
    Retire(u32),
    Erase(u32),
}

/// The open leases by the version that each uses now.
fn pinned(ledger: &Ledger, open: &Open) -> Open {
    let mut pinned = Open::new();
    for (version, (reveal, broker)) in open {
        for (delivery, count) in [(Delivery::Reveal, reveal), (Delivery::Broker, broker)] {
            let (reveal, broker) = pinned.entry(ledger.pinned(*version, delivery)).or_default();
            *match delivery {
                Delivery::Reveal => reveal,
                Delivery::Broker => broker,
            } += count;
        }
    }
    pinned.retain(|_, open| *open != (0, 0));
    pinned
}

fn counters(ledger: &Ledger, open: &Open, wrong: &mut Vec<Wrong>) {
    let mut recount = |kind, version, what| wrong.push((kind, version, what, Some(Fix::Recount)));
    let mut in_use: u32 = 0;
    for version in &ledger.versions {
        let (reveal, broker) = open.get(&version.number).copied().unwrap_or_default();
        in_use = in_use.saturating_add(reveal).saturating_add(broker);
        let counted = (version.reveal, version.broker);
        if counted != (reveal, broker) {
            let what = format!(
                "counts {} reveal and {} broker leases, and {reveal} and {broker} are open",
                counted.0, counted.1
            );
            recount(Kind::Counter, Some(version.number), what);
        }
        if version.stage != Stage::Current && (reveal, broker) == (0, 0) {
            let what = "is not current, has no open lease, and is not retired".to_owned();
            recount(Kind::State, Some(version.number), what);
        }
    }
    if ledger.active != in_use {
        let what = format!(
            "counts {} open leases, and {in_use} are open",
            ledger.active
        );
        recount(Kind::Counter, None, what);
    }
    for (number, (reveal, broker)) in open {
        if ledger.version(*number).is_none() {
            let what = format!("has {} open leases, and is out of use", reveal + broker);
            wrong.push((Kind::State, Some(*number), what, None));
        }
    }
}

fn version(
    ledger: &Ledger,
    open: &Open,
    number: u32,
    state: &VersionState,
    has_value: bool,
    wrong: &mut Vec<Wrong>,
) {
    let mut tell = |what: String, fix| wrong.push((Kind::State, Some(number), what, fix));
    let spelling = state.as_str();
    let fits = match ledger.version(number).map(|version| version.stage) {
        Some(Stage::Current) => *state == VersionState::Current,
        Some(Stage::Rotated | Stage::Cut) => matches!(state, VersionState::Rotated { .. }),
        Some(Stage::Revoked) => matches!(state, VersionState::Revoked { .. }),
        None => state.erased_at().is_some(),
    };
    let due = matches!(state, VersionState::Rotated { .. })
        && ledger.version(number).is_none()
        && !open.contains_key(&number);
    if due {
        let what = "is rotated, has no open lease, and is not retired".to_owned();
        return tell(what, Some(Fix::Retire(number)));
    }
    if !fits {
        tell(
            format!("is {spelling}, and the ledger says otherwise"),
            None,
        );
    }
    match (state.erased_at().is_some(), has_value) {
        (true, true) => tell(
            format!("is {spelling}, and its value is not erased"),
            Some(Fix::Erase(number)),
        ),
        (false, false) => tell(format!("is {spelling}, and its value is missing"), None),
        _ => {}
    }
}

impl Exam<'_> {
    /// Looks at one credential as a whole, by the key of its ledger.
    pub(super) async fn state(&mut self, at: &[u8]) {
        let Some((workspace, id)) = key::parse_credential(at) else {
            return;
        };
        let Some(tables) = self.tables.get(&workspace).cloned() else {
            return;
        };
        // What cannot be read was told of already.
        let Ok(ledger) = tables.ledger(&mut self.read, id).await else {
            return;
        };
        let open = self.open.remove(&(workspace, id)).unwrap_or_default();
        let open = pinned(&ledger, &open);
        let mut wrong = Vec::new();
        counters(&ledger, &open, &mut wrong);
        self.versions(&tables, id, &ledger, &open, &mut wrong).await;
        self.tell(workspace, id, &open, wrong);
    }

    async fn versions(
        &mut self,
        tables: &Tables,
        id: CredentialId,
        ledger: &Ledger,
        open: &Open,
        wrong: &mut Vec<Wrong>,
    ) {
        let mut rest = Some(key::versions(tables.workspace, id));
        let mut next = 1;
        while let Some(scan) = rest.take() {
            let page = self.read.range(&scan).await;
            let object = of_credential(id, None);
            let Some(page) = self.seen(tables.workspace, object, page) else {
                return;
            };
            rest = page.last().map(|(last, _)| scan.after(last));
            for number in page.iter().filter_map(|(at, _)| key::parse_version(at)) {
                if number != next {
                    let what = "has no record".to_owned();
                    wrong.push((Kind::State, Some(next), what, None));
                }
                next = number.saturating_add(1);
                // What cannot be read was told of already.
                let Ok(Some(record)) = tables.version(&mut self.read, id, number).await else {
                    continue;
                };
                let object = of_credential(id, Some(number));
                let value = key::value(tables.workspace, id, number);
                if let Some(has_value) = self.exists(&object, &value).await {
                    version(ledger, open, number, &record.state, has_value, wrong);
                }
            }
        }
        if next != ledger.newest.saturating_add(1) {
            let what = format!(
                "has {} as its newest version, and no record of it",
                ledger.newest
            );
            wrong.push((Kind::State, None, what, None));
        }
    }

    fn tell(&mut self, workspace: WorkspaceId, id: CredentialId, open: &Open, wrong: Vec<Wrong>) {
        let mut recounted = false;
        for (kind, version, what, fix) in wrong {
            let object = of_credential(id, version);
            let counted = matches!(fix, Some(Fix::Recount | Fix::Retire(_)));
            let Some(fix) = fix.filter(|_| !(counted && self.unsure)) else {
                self.find(kind, workspace, object, what);
                continue;
            };
            let mend = match fix {
                // Once for the whole ledger.
                Fix::Recount if std::mem::replace(&mut recounted, true) => None,
                Fix::Recount => Some(Mend::Recount {
                    credential: id,
                    open: open.clone(),
                }),
                Fix::Retire(number) => Some(Mend::Retire {
                    credential: id,
                    number,
                }),
                Fix::Erase(number) => Some(Mend::delete(key::value(workspace, id, number))),
            };
            self.find_mendable(kind, workspace, object, what, mend);
        }
    }
}
