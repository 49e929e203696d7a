//! Issuing, redeeming, renewing, ending and showing leases.

use super::{
    Call, Engine, Note, Unit,
    close::object,
    credential::{author, change, no_credential},
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
    update::check_reason,
    views::{LeaseView, LeaseViews},
};
use crate::{
    audit::query::{AuditFilter, AuditPage, Reader, Window},
    authz::{self, Action, Resource},
    crypto::bearer::{Bearer, Digest, Presented},
    domain::{
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::{CredentialId, LeaseId},
        lease::{Ending, Grant, Holder, Lease, LeaseStatus, Requester},
        ledger::Ledger,
        name::{
            CredentialName, IdentityName, MAX_SESSION_BYTES, MAX_TEXT_BYTES, Metadata, check_text,
        },
        policy::{Delivery, Terms},
        principal::{IdentityState, IdentityType},
        secret::SecretText,
        time::{Timestamp, Ttl},
    },
    store::key,
    tables::Tables,
};

/// Expired leases that a grant at the cap closes itself before it refuses.
const DUE_AT_GRANT: usize = 64;

/// The identity that a lease is asked for.
#[derive(Debug, Clone, Default)]
pub struct WantedHolder {
    pub kind: Option<IdentityType>,
    pub name: Option<IdentityName>,
    pub session: Option<String>,
}

/// A lease to issue.
#[derive(Debug)]
pub struct IssueLease {
    pub credential_name: CredentialName,
    pub ttl: Option<Ttl>,
    pub delivery: Option<Delivery>,
    pub holder: WantedHolder,
    pub purpose: Option<String>,
    /// Whether the answer shows the value.
    pub reveal: bool,
}

/// A lease that was issued, with what is shown once.
pub struct Issued {
    pub view: LeaseView,
    pub handle: SecretText,
    pub value: Option<SecretText>,
}

/// A value, shown to the holder of its lease.
pub struct Redeemed {
    pub view: LeaseView,
    pub value: SecretText,
}

/// Which leases to list. Every given filter must match.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    pub credential_name: Option<String>,
    pub identity: Option<String>,
    pub session: Option<String>,
    pub status: Option<LeaseStatus>,
    pub version: Option<u32>,
    /// Issued at or after, and before.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SortBy {
    IssuedAt,
    ExpiresAt,
}

const SORTS: [(&str, SortBy); 3] = [
    ("created_at", SortBy::IssuedAt),
    ("issued_at", SortBy::IssuedAt),
    ("expires_at", SortBy::ExpiresAt),
];
const DEFAULT_SORT: &str = "-created_at";

impl Engine {
    /// Issues a lease. INVARIANT (lease-cap): the credential's lock is held from the count to the commit.
    pub async fn issue_lease(&self, call: &Call, command: IssueLease) -> Result<Issued> {
        let resource = Resource::Credential(command.credential_name.clone());
        let permit = self.authorize(call, Action::LeaseCreate, resource).await?;
        if let Some(purpose) = &command.purpose {
            check_text(purpose, "purpose", MAX_TEXT_BYTES)?;
        }
        let tables = self.tables(call.principal.workspace)?;
        let holder = self.holder(call, &tables, &command).await?;
        let id = tables
            .credential_id(&mut self.read(), &command.credential_name)
            .await?
            .ok_or_else(no_credential)?;
        let slot = Slot::of(self, call, "lease:create")?;
        let mut locks = vec![key::credential_lock(id)];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Issued {
                lease,
                metadata,
                reveal,
            }) => {
                return self
                    .issue_again(unit, &slot, *lease, metadata, reveal)
                    .await;
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let reveal = command.reveal;
        let refused = Object {
            credential: Some(id),
            credential_name: Some(command.credential_name.clone()),
            holder: Some(holder.identity),
            holder_name: Some(holder.name.clone()),
            session: holder.session.clone(),
            ..Object::default()
        };
        let granted = match unit.grant(call, &slot, id, holder, command).await {
            Ok(granted) => granted,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, refused, Err(error))
                    .await;
            }
        };
        let Granted {
            lease,
            metadata,
            handle,
        } = granted;
        let value = match reveal {
            true => Some(unit.tables.value(&mut unit.txn, id, lease.version).await?),
            false => None,
        };
        slot.keep(&mut unit, || Answer::Issued {
            lease: Box::new(lease.clone()),
            metadata: metadata.clone(),
            reveal,
        })?;
        // Before the commit: a caller that goes away while it waits must not leave the lease unscheduled.
        self.schedule
            .add((unit.tables.workspace, id), lease.expires_at);
        unit.commit().await?;
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Issued {
            view,
            handle,
            value,
        })
    }

    /// Whom the lease is for: the caller itself, or, with `lease:delegate`, another active identity of the
    /// workspace.
    async fn holder(&self, call: &Call, tables: &Tables, command: &IssueLease) -> Result<Holder> {
        let principal = &call.principal;
        let wanted = &command.holder;
        if let Some(session) = &wanted.session {
            check_text(session, "identity.session_id", MAX_SESSION_BYTES)?;
        }
        let session = wanted.session.clone();
        let own = wanted
            .name
            .as_ref()
            .is_none_or(|name| *name == principal.name)
            && wanted.kind.is_none_or(|kind| kind == principal.kind);
        if own {
            let (identity, kind, name) =
                (principal.identity, principal.kind, principal.name.clone());
            return Ok(Holder {
                identity,
                kind,
                name,
                session,
            });
        }
        let resource = Resource::Credential(command.credential_name.clone());
        self.authorize(call, Action::LeaseDelegate, resource)
            .await?;
        let Some(name) = &wanted.name else {
            return Err(Error::missing("identity.name"));
        };
        let kind = wanted.kind.unwrap_or(IdentityType::Agent);
        let read = &mut self.read();
        let unknown = || {
            Error::invalid(
                "identity.name",
                format!("no {} is named `{name}` in this workspace", kind.as_str()),
            )
        };
        let id = tables
            .identity_id(read, kind, name)
            .await?
            .ok_or_else(unknown)?;
        let identity = tables.identity(read, id).await?.ok_or_else(unknown)?;
        if identity.state == IdentityState::Suspended {
            return Err(Error::new(
                Code::IdentitySuspended,
                "the identity is suspended",
            ));
        }
        Ok(Holder {
            identity: id,
            kind,
            name: identity.name,
            session,
        })
    }

    /// The first answer again: the same lease and handle; the value only while the lease may still show it.
    async fn issue_again(
        &self,
        mut unit: Unit<'_>,
        slot: &Slot<'_>,
        lease: Lease,
        metadata: Metadata,
        reveal: bool,
    ) -> Result<Issued> {
        let minted = self.keyring.mint_repeatable(
            unit.tables.workspace,
            lease.id,
            slot.key().unwrap_or_default(),
        );
        let mut value = None;
        if reveal
            && let Some(now) = unit.tables.lease(&mut unit.txn, lease.id).await?
            && now.check_open(unit.now).is_ok()
        {
            let ledger = unit.tables.ledger(&mut unit.txn, lease.credential).await?;
            if ledger.check_use(lease.version).is_ok() {
                value = Some(
                    unit.tables
                        .value(&mut unit.txn, lease.credential, lease.version)
                        .await?,
                );
                let reason = Some("the same request was sent again".to_owned());
                unit.record(Note {
                    reason,
                    ..Note::new(EventName::LeaseRedeemed, object(&lease))
                })?;
                unit.commit().await?;
            }
        }
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Issued {
            view,
            handle: minted.text,
            value,
        })
    }

    /// Exchanges a handle for its value. INVARIANT (ack-audited): the record is durable before the value leaves.
    pub async fn redeem(&self, call: &Call, handle: &SecretText) -> Result<Redeemed> {
        // Parsing must see the handle.
        let presented = Presented::parse(Bearer::Handle, handle.expose()).ok_or_else(|| {
            Error::invalid("handle", "`handle` is not a lease handle, or is mistyped")
        })?;
        let unknown = || Error::not_found("handle");
        let tables = self.tables(call.principal.workspace)?;
        let id = presented.lease();
        let credential = tables
            .lease_credential(&mut self.read(), id)
            .await?
            .ok_or_else(unknown)?;
        let mut unit = self.begin_undecided(call, credential).await?;
        let mut lease = tables.lease(&mut unit.txn, id).await?.ok_or_else(unknown)?;
        if !Digest::from_stored(lease.handle).proves(&self.keyring, &presented) {
            return Err(unknown());
        }
        match authz::decide(&call.principal, Action::HandleRedeem, resource(&lease)) {
            Ok(permit) => unit.decided(&permit),
            Err(denial) => {
                drop(unit);
                return Err(self.deny(call, denial).await?);
            }
        }
        let (value, metadata) = match unit.redeem(&mut lease).await {
            Ok(found) => found,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                    .await;
            }
        };
        unit.commit().await?;
        // INVARIANT (ttl): the process may have been stopped since the check.
        lease.check_open(self.now())?;
        let view = LeaseView {
            status: LeaseStatus::Active,
            version: lease.version,
            metadata,
            lease,
        };
        Ok(Redeemed { view, value })
    }

    /// Extends a lease.
    pub async fn renew_lease(
        &self,
        call: &Call,
        id: LeaseId,
        ttl: Option<Ttl>,
    ) -> Result<LeaseView> {
        let (mut unit, mut lease) = self.lock_lease(call, Action::LeaseRenew, id).await?;
        let metadata = match unit.renew(&mut lease, ttl).await {
            Ok(metadata) => metadata,
            Err(error) => {
                drop(unit);
                return self
                    .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                    .await;
            }
        };
        self.schedule
            .add((unit.tables.workspace, lease.credential), lease.expires_at);
        unit.commit().await?;
        let (version, metadata) = metadata;
        Ok(LeaseView {
            status: LeaseStatus::Active,
            version,
            metadata,
            lease,
        })
    }

    /// Gives a lease back: its holder is done.
    pub async fn release_lease(&self, call: &Call, id: LeaseId) -> Result<LeaseView> {
        let ending = Ending::Released {
            by: author(&call.principal),
        };
        self.end_lease(call, Action::LeaseRelease, id, ending).await
    }

    /// Ends somebody's lease.
    pub async fn revoke_lease(
        &self,
        call: &Call,
        id: LeaseId,
        reason: Option<String>,
    ) -> Result<LeaseView> {
        check_reason(reason.as_deref())?;
        let ending = Ending::Revoked {
            by: Some(author(&call.principal)),
            reason,
        };
        self.end_lease(call, Action::LeaseRevoke, id, ending).await
    }

    async fn end_lease(
        &self,
        call: &Call,
        action: Action,
        id: LeaseId,
        ending: Ending,
    ) -> Result<LeaseView> {
        let (mut unit, lease) = self.lock_lease(call, action, id).await?;
        if let Err(error) = lease.check_open(unit.now) {
            drop(unit);
            return self
                .recorded(call, EventName::LeaseRefused, object(&lease), Err(error))
                .await;
        }
        let mut ledger = unit.tables.ledger(&mut unit.txn, lease.credential).await?;
        let lease = unit.close_lease(&mut ledger, lease, ending).await?;
        unit.tables
            .put_ledger(&mut *unit.txn, lease.credential, &ledger)?;
        let view = LeaseViews::new(&unit.tables.clone(), unit.now)
            .view(&mut unit.txn, lease)
            .await?;
        unit.commit().await?;
        Ok(view)
    }

    /// A lease under its credential's lock, once the caller may act on it.
    async fn lock_lease<'a>(
        &'a self,
        call: &Call,
        action: Action,
        id: LeaseId,
    ) -> Result<(Unit<'a>, Lease)> {
        let tables = self.tables(call.principal.workspace)?;
        let credential = tables
            .lease_credential(&mut self.read(), id)
            .await?
            .ok_or_else(no_lease)?;
        let mut unit = self.begin_undecided(call, credential).await?;
        let lease = tables
            .lease(&mut unit.txn, id)
            .await?
            .ok_or_else(no_lease)?;
        match authz::decide(&call.principal, action, resource(&lease)) {
            Ok(permit) => unit.decided(&permit),
            Err(denial) => {
                drop(unit);
                return Err(self.deny(call, denial).await?);
            }
        }
        Ok((unit, lease))
    }

    async fn begin_undecided<'a>(
        &'a self,
        call: &Call,
        credential: CredentialId,
    ) -> Result<Unit<'a>> {
        let actor = crate::domain::event::Actor::of(&call.principal);
        let locks = [key::credential_lock(credential)];
        Unit::begin(
            self,
            call.principal.workspace,
            actor,
            Some(call.origin.clone()),
            None,
            &locks,
        )
        .await
    }

    /// One lease.
    pub async fn lease(&self, call: &Call, id: LeaseId) -> Result<LeaseView> {
        let tables = self.tables(call.principal.workspace)?;
        let read = &mut self.read();
        let lease = tables.lease(read, id).await?.ok_or_else(no_lease)?;
        self.authorize(call, Action::LeaseRead, resource(&lease))
            .await?;
        LeaseViews::new(&tables, self.now()).view(read, lease).await
    }

    /// The history of one lease, oldest first.
    pub async fn lease_events(
        &self,
        call: &Call,
        id: LeaseId,
        window: Window,
    ) -> Result<AuditPage> {
        let tables = self.tables(call.principal.workspace)?;
        let lease = tables
            .lease(&mut self.read(), id)
            .await?
            .ok_or_else(no_lease)?;
        self.authorize(call, Action::LeaseRead, resource(&lease))
            .await?;
        let filter = AuditFilter {
            lease: Some(id),
            since: Some(lease.issued_at),
            ..AuditFilter::default()
        };
        let reader = Reader {
            store: self.read(),
            keyring: &self.keyring,
            workspace: tables.workspace,
        };
        reader.query(&filter, window).await
    }

    /// A page of the workspace's leases; of the caller's own where it may not see others'.
    pub async fn leases(
        &self,
        call: &Call,
        filter: &LeaseFilter,
        request: &PageRequest,
    ) -> Result<Page<LeaseView>> {
        let own_only = match authz::decide(&call.principal, Action::LeaseList, Resource::Workspace)
        {
            Ok(_) => false,
            Err(denial) => {
                let own = authz::decide(&call.principal, Action::LeaseCreate, Resource::Workspace);
                if own.is_err() {
                    return Err(self.deny(call, denial).await?);
                }
                true
            }
        };
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let tables = self.tables(call.principal.workspace)?;
        let now = self.now();
        let read = &mut self.read();
        let mut views = LeaseViews::new(&tables, now);
        let mut found = Vec::new();
        let mut scan = key::leases(tables.workspace);
        loop {
            let pairs = tables_page(read, &scan).await?;
            let Some((last, _)) = pairs.last() else { break };
            scan = scan.after(last);
            for (at, stored) in &pairs {
                let id =
                    key::parse_lease(at).ok_or_else(|| Error::internal("malformed lease key"))?;
                let lease = tables.open_lease(id, stored)?;
                let visible = !own_only || lease.holder.identity == call.principal.identity;
                if !visible || !filter.matches(&lease, now) {
                    continue;
                }
                let sorted_by = match window.sort {
                    SortBy::IssuedAt => lease.issued_at,
                    SortBy::ExpiresAt => lease.expires_at,
                };
                if let Some(version) = filter.version
                    && views.view(read, lease).await?.version != version
                {
                    continue;
                }
                let position = [&sorted_by.as_millis().to_be_bytes()[..], id.as_bytes()].concat();
                found.push((position, id));
            }
            tokio::task::yield_now().await;
        }
        let page = request.cut(&window, DEFAULT_SORT, found);
        let mut items = Vec::with_capacity(page.items.len());
        for id in page.items {
            let lease = tables
                .lease(read, id)
                .await?
                .ok_or_else(|| Error::internal("a listed lease is gone"))?;
            items.push(views.view(read, lease).await?);
        }
        Ok(Page {
            items,
            limit: page.limit,
            next_cursor: page.next_cursor,
            total: page.total,
        })
    }
}

async fn tables_page(
    read: &mut impl crate::tables::Read,
    scan: &crate::store::port::Scan,
) -> Result<Vec<(crate::store::port::Key, crate::store::port::Value)>> {
    read.range(scan).await
}

impl LeaseFilter {
    /// Whether the lease matches, its version aside.
    pub(super) fn matches(&self, lease: &Lease, now: Timestamp) -> bool {
        self.credential_name
            .as_deref()
            .is_none_or(|name| name == lease.credential_name.as_str())
            && self
                .identity
                .as_deref()
                .is_none_or(|name| name == lease.holder.name.as_str())
            && self.session.is_none_or_eq(lease.holder.session.as_deref())
            && self.status.is_none_or(|status| status == lease.status(now))
            && self.since.is_none_or(|since| lease.issued_at >= since)
            && self.until.is_none_or(|until| lease.issued_at < until)
    }
}

trait NoneOrEq {
    fn is_none_or_eq(&self, other: Option<&str>) -> bool;
}

impl NoneOrEq for Option<String> {
    fn is_none_or_eq(&self, other: Option<&str>) -> bool {
        self.as_deref().is_none_or(|wanted| other == Some(wanted))
    }
}

struct Granted {
    lease: Lease,
    metadata: Metadata,
    handle: SecretText,
}

impl Unit<'_> {
    async fn grant(
        &mut self,
        call: &Call,
        slot: &Slot<'_>,
        credential_id: CredentialId,
        holder: Holder,
        command: IssueLease,
    ) -> Result<Granted> {
        let tables = self.tables.clone();
        let resolved = self.resolved(credential_id).await?;
        let (credential, terms) = (&resolved.credential, &resolved.terms);
        let mut ledger = tables.ledger(&mut self.txn, credential_id).await?;
        let delivery = check_request(&command, terms)?;
        if ledger.active >= terms.max_leases {
            self.close_due(credential_id, &mut ledger, DUE_AT_GRANT)
                .await?;
        }
        let version = match ledger.grant(delivery, terms.max_leases, self.now) {
            Ok(version) => version,
            Err(error) => return Err(self.with_retry_at(error, credential_id).await?),
        };
        if command.reveal {
            ledger.mark_revealed(version);
        }
        let entropy = self.engine.keyring.entropy();
        let id = LeaseId::new(self.now, &entropy.bytes()?);
        let minted = match slot.key() {
            Some(key) => self
                .engine
                .keyring
                .mint_repeatable(tables.workspace, id, key),
            None => self.engine.keyring.mint(Bearer::Handle, id.as_bytes())?,
        };
        let principal = &call.principal;
        let grant = Grant {
            id,
            handle: minted.digest.to_stored(),
            credential: credential_id,
            credential_name: credential.name.clone(),
            version,
            delivery,
            holder,
            requested_by: Requester {
                by: author(principal),
                kind: principal.kind,
                key: principal.key,
            },
            purpose: command.purpose,
            requested_ttl: command.ttl,
            reveal: command.reveal,
        };
        let lease = Lease::issue(grant, terms, self.now);
        tables.put_lease(&mut *self.txn, &lease)?;
        tables.put_open(&mut *self.txn, &lease)?;
        tables.put_ledger(&mut *self.txn, credential_id, &ledger)?;
        let purpose = lease.purpose.clone();
        let changes = vec![
            change("expires_at", None, Some(lease.expires_at.to_string())),
            change("delivery", None, Some(lease.delivery.as_str().to_owned())),
        ];
        self.record(Note {
            purpose,
            changes,
            ..Note::new(EventName::LeaseIssued, object(&lease))
        })?;
        if command.reveal {
            // The answer shows the value: that is a use, and history says so.
            let reason = Some("shown in the answer to the grant".to_owned());
            self.record(Note {
                reason,
                ..Note::new(EventName::LeaseRedeemed, object(&lease))
            })?;
        }
        Ok(Granted {
            lease,
            metadata: credential.metadata.clone(),
            handle: minted.text,
        })
    }

    /// Says when a lease of a full credential ends at the latest, so that the caller knows when to come back.
    async fn with_retry_at(&mut self, error: Error, credential: CredentialId) -> Result<Error> {
        if error.code() != Code::LeaseLimitReached {
            return Ok(error);
        }
        let mut scan = key::open_leases(self.tables.workspace, credential);
        scan.limit = 1;
        let first = self
            .txn
            .scan(&scan)
            .await?
            .pop()
            .and_then(|(at, _)| key::parse_open_lease(&at));
        Ok(match first {
            Some(open) => error.with("retry_at", open.expiry.to_string()),
            None => error,
        })
    }

    async fn redeem(&mut self, lease: &mut Lease) -> Result<(SecretText, Metadata)> {
        let tables = self.tables.clone();
        let mut used = lease.clone();
        used.redeem(self.now)?;
        let mut ledger = tables.ledger(&mut self.txn, lease.credential).await?;
        ledger.check_use(lease.version)?;
        let value = tables
            .value(&mut self.txn, lease.credential, lease.version)
            .await?;
        let metadata = self.metadata(&ledger, lease).await?;
        *lease = used;
        tables.put_lease(&mut *self.txn, lease)?;
        if ledger.mark_revealed(lease.version) {
            tables.put_ledger(&mut *self.txn, lease.credential, &ledger)?;
        }
        let purpose = lease.purpose.clone();
        self.record(Note {
            purpose,
            ..Note::new(EventName::LeaseRedeemed, object(lease))
        })?;
        Ok((value, metadata))
    }

    async fn renew(&mut self, lease: &mut Lease, ttl: Option<Ttl>) -> Result<(u32, Metadata)> {
        let tables = self.tables.clone();
        lease.check_open(self.now)?;
        let resolved = self.resolved(lease.credential).await?;
        let ledger = tables.ledger(&mut self.txn, lease.credential).await?;
        let version = ledger.pinned(lease.version, lease.delivery);
        ledger.check_use(version)?;
        let before = lease.clone();
        let mut renewed = before.clone();
        renewed.renew(ttl, &resolved.terms, self.now)?;
        tables.delete_open(&mut *self.txn, &before);
        tables.put_open(&mut *self.txn, &renewed)?;
        tables.put_lease(&mut *self.txn, &renewed)?;
        let changes = vec![change(
            "expires_at",
            Some(before.expires_at.to_string()),
            Some(renewed.expires_at.to_string()),
        )];
        self.record(Note {
            changes,
            ..Note::new(EventName::LeaseRenewed, object(&renewed))
        })?;
        let metadata = self.metadata(&ledger, &renewed).await?;
        *lease = renewed;
        Ok((version, metadata))
    }

    /// The metadata of the version that a lease uses.
    async fn metadata(&mut self, ledger: &Ledger, lease: &Lease) -> Result<Metadata> {
        let version = ledger.pinned(lease.version, lease.delivery);
        let found = self
            .tables
            .version(&mut self.txn, lease.credential, version)
            .await?;
        found
            .map(|version| version.metadata)
            .ok_or_else(|| Error::internal("a version in use has no record"))
    }

    /// Notes what decided that this unit may act.
    fn decided(&mut self, permit: &authz::Permit) {
        self.set_decided_by(permit.decided_by());
    }
}

/// Holds a request to the credential's terms; gives back the delivery to grant.
fn check_request(command: &IssueLease, terms: &Terms) -> Result<Delivery> {
    if terms.require_purpose
        && command
            .purpose
            .as_deref()
            .is_none_or(|purpose| purpose.trim().is_empty())
    {
        return Err(Error::new(
            Code::MissingParameter,
            "the credential's policy requires a `purpose`",
        )
        .with("field", "purpose"));
    }
    let delivery = terms.grant_delivery(command.delivery)?;
    if command.reveal && delivery == Delivery::Broker {
        return Err(Error::invalid(
            "reveal",
            "a broker lease never shows its value; ask for `delivery: reveal`",
        ));
    }
    Ok(delivery)
}

fn resource(lease: &Lease) -> Resource {
    Resource::Lease {
        id: lease.id,
        credential: lease.credential_name.clone(),
        holder: lease.holder.identity,
        requested_by: lease.requested_by.by.identity,
    }
}

fn no_lease() -> Error {
    Error::not_found("lease")
}
