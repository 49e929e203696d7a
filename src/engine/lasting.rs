//! What is given out for longer than an emergency stop waits: its caller is proven again and again, and goes on only
//! while it is who began and may still do it.
//!
//! INVARIANT (stop-is-complete): whoever was stopped gets no further piece.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Call, Engine, HistoryOf, Witness};
use crate::{
    authz::{Action, Permit, Resource},
    domain::{
        error::{Code, Error, Result},
        id::{IdentityId, WorkspaceId},
        principal::{Account, Principal, ProofId},
    },
};

/// Who began it, and what it is.
#[derive(Clone)]
pub struct Lasting {
    workspace: WorkspaceId,
    identity: IdentityId,
    proof: ProofId,
    action: Action,
    resource: Resource,
    /// Whose history it is a reading of, where it is one.
    history: Option<HistoryOf>,
    witness: Witness,
}

impl Lasting {
    /// Leaves the request's epoch: this takes long, and changes nothing that an emergency stop would have to wait for.
    pub(super) fn begin(call: &Call, action: Action, resource: Resource) -> Self {
        call.entered.leave();
        let principal = &call.principal;
        Self {
            workspace: principal.workspace,
            identity: principal.identity,
            proof: principal.proof,
            action,
            resource,
            history: None,
            witness: call.entered.witness().clone(),
        }
    }

    /// The same for a reading of history.
    pub(super) fn of_history(call: &Call, action: Action, of: HistoryOf) -> Self {
        Self {
            history: Some(of),
            ..Self::begin(call, action, Resource::Workspace)
        }
    }

    /// Tells the request that it has a record: made by the caller that was proven again.
    pub(super) fn recorded(&self) {
        self.witness.attest();
    }

    fn is_of(&self, now: &Principal) -> bool {
        (self.workspace, self.identity, self.proof) == (now.workspace, now.identity, now.proof)
    }
}

impl Engine {
    /// Whether the caller, who was proven once more, may go on.
    pub async fn may_go_on(&self, lasting: &Lasting, call: &Call) -> Result<()> {
        self.permit_again(lasting, call).await.map(drop)
    }

    pub(super) async fn permit_again(&self, lasting: &Lasting, call: &Call) -> Result<Permit> {
        if !lasting.is_of(&call.principal) {
            return Err(Error::internal("work that lasts changed hands"));
        }
        let action = lasting.action;
        match lasting.history {
            Some(of) => {
                let (permit, _) = self.authorize_history(call, action, of).await?;
                Ok(permit)
            }
            None => self.authorize(call, action, lasting.resource.clone()).await,
        }
    }
}

/// The places that there are for such work, and those that one key may have with the tokens that were made of it: a
/// few readers that take their time do not keep everybody else out.
pub(super) struct Places {
    taken: Mutex<HashMap<Account, usize>>,
    what: &'static str,
    all: usize,
    of_key: usize,
}

/// A place, given back when it is dropped.
pub(super) struct Taken {
    places: Arc<Places>,
    of: Account,
}

impl Places {
    pub(super) fn new(what: &'static str, all: usize, of_key: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            what,
            all,
            of_key,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Account, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(self: &Arc<Self>, of: Account) -> Result<Taken> {
        let Self {
            what, all, of_key, ..
        } = **self;
        let mut taken = self.taken();
        if taken.get(&of).is_some_and(|own| *own >= of_key) {
            let message = format!("a key has at most {of_key} {what} at a time");
            return Err(Error::new(Code::QuotaExceeded, message).with("limit", of_key as u64));
        }
        if taken.values().sum::<usize>() >= all {
            return Err(Error::state(format!(
                "{all} other {what} go on; try again when one is done"
            )));
        }
        *taken.entry(of).or_default() += 1;
        Ok(Taken {
            places: self.clone(),
            of,
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(own) = taken.get_mut(&self.of) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::KeyId;

    #[test]
    fn no_key_takes_every_place() {
        let places = Places::new("exports", 3, 2);
        let of = |key| places.take(Account::Key(KeyId::from_bytes([key; 16])));
        let code = |refused: Result<Taken>| refused.err().map(|error| error.code());
        let first = (of(1).unwrap(), of(1).unwrap());
        assert_eq!(code(of(1)), Some(Code::QuotaExceeded));
        let second = of(2).unwrap();
        assert_eq!(code(of(2)), Some(Code::InvalidState));
        drop(first);
        let third = of(2).unwrap();
        assert_eq!(code(of(2)), Some(Code::QuotaExceeded));
        drop((second, third));
        assert!(places.taken().is_empty());
    }
}
