//! Making, showing and changing workspaces.

use super::{
    Call, Engine, Note, Unit,
    credential::{author, change},
    idempotency::{Answer, Slot},
    page::{Page, PageRequest},
};
use crate::{
    authz::{Action, Resource},
    domain::{
        credential::Author,
        error::{Code, Error, Result},
        event::{EventName, Object},
        id::WorkspaceId,
        name::{MAX_DIRECTORY_TEXT_BYTES, WorkspaceName, check_text},
        time::TimeRange,
        workspace::{Settings, SettingsPatch, Workspace},
    },
    store::key,
    tables,
};

/// A workspace to make.
pub struct CreateWorkspace {
    pub name: WorkspaceName,
    pub description: Option<String>,
    pub settings: SettingsPatch,
}

/// A merge patch of a workspace (RFC 7396): what is absent stays.
#[derive(Debug, Default)]
pub struct UpdateWorkspace {
    pub description: Option<Option<String>>,
    pub settings: SettingsPatch,
}

#[derive(Clone, Copy)]
enum SortBy {
    CreatedAt,
    UpdatedAt,
    Name,
}

const SORTS: [(&str, SortBy); 3] = [
    ("created_at", SortBy::CreatedAt),
    ("updated_at", SortBy::UpdatedAt),
    ("name", SortBy::Name),
];
const DEFAULT_SORT: &str = "name";

/// The workspace as an audit object.
pub(super) fn object(name: &WorkspaceName) -> Object {
    Object {
        name: Some(name.to_string()),
        ..Object::default()
    }
}

pub(super) fn no_workspace() -> Error {
    Error::not_found("workspace")
}

fn check_description(description: Option<&str>) -> Result<()> {
    description.map_or(Ok(()), |text| {
        check_text(text, "description", MAX_DIRECTORY_TEXT_BYTES)
    })
}

impl Engine {
    /// Makes a workspace with a key-encryption key of its own.
    pub async fn add_workspace(&self, call: &Call, command: CreateWorkspace) -> Result<Workspace> {
        let permit = self
            .authorize(call, Action::WorkspaceCreate, Resource::Vault)
            .await?;
        check_description(command.description.as_deref())?;
        let settings = Settings::default().patched(command.settings)?;
        let slot = Slot::of(self, call, "workspace:create")?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let mut locks = vec![key::name_lock(&system.workspace_hash(&command.name))];
        locks.extend(slot.lock());
        let mut unit = self.begin(call, &permit, &locks).await?;
        match slot.first(&mut unit).await? {
            Some(Answer::Workspace(workspace)) => {
                drop(unit);
                slot.durable(self, call.principal.workspace).await?;
                return Ok(*workspace);
            }
            Some(_) => return Err(Error::internal("a first answer of another operation")),
            None => {}
        }
        let by = Some(author(&call.principal));
        let workspace = unit
            .put_new_workspace(command.name, command.description, settings, by)
            .await?;
        slot.keep(&mut unit, || Answer::Workspace(Box::new(workspace.clone())))?;
        unit.commit_access().await?;
        Ok(workspace)
    }

    /// The call in the workspace of that name, and its record. INVARIANT (isolation): to a caller that reaches one
    /// workspace, every other one looks missing.
    pub(super) async fn within(
        &self,
        mut call: Call,
        name: &WorkspaceName,
    ) -> Result<(Call, Workspace)> {
        let principal = &mut call.principal;
        if *name != principal.workspace_name && !principal.organisation {
            return Err(no_workspace());
        }
        let (system, read) = (self.tables(WorkspaceId::SYSTEM)?, &mut self.read());
        let id = system.workspace_id(read, name).await?;
        let id = id.ok_or_else(no_workspace)?;
        let workspace = system.workspace(read, id).await?;
        let workspace = workspace.ok_or_else(no_workspace)?;
        principal.workspace = id;
        principal.workspace_name = workspace.name.clone();
        Ok((call, workspace))
    }

    /// One workspace.
    pub async fn workspace(&self, call: Call, name: &WorkspaceName) -> Result<Workspace> {
        let (call, workspace) = self.within(call, name).await?;
        self.authorize(&call, Action::WorkspaceRead, Resource::Workspace)
            .await?;
        Ok(workspace)
    }

    /// A page of the workspaces that the caller reaches.
    pub async fn workspaces(
        &self,
        call: &Call,
        name: Option<&str>,
        made: TimeRange,
        request: &PageRequest,
    ) -> Result<Page<Workspace>> {
        self.authorize(call, Action::WorkspaceRead, Resource::Workspace)
            .await?;
        let window = request.window(&SORTS, DEFAULT_SORT)?;
        let system = self.tables(WorkspaceId::SYSTEM)?;
        let principal = &call.principal;
        let all = system.workspaces(&mut self.read()).await?;
        let found = all.into_iter().filter(|workspace| {
            (principal.organisation || workspace.id == principal.workspace)
                && name.is_none_or(|name| name == workspace.name.as_str())
                && made.holds(workspace.created_at)
        });
        let found = found.map(|workspace| {
            let mut position = match window.sort {
                SortBy::CreatedAt => workspace.created_at.as_millis().to_be_bytes().to_vec(),
                SortBy::UpdatedAt => workspace.updated_at.as_millis().to_be_bytes().to_vec(),
                SortBy::Name => [workspace.name.as_str().as_bytes(), &[0]].concat(),
            };
            position.extend_from_slice(workspace.id.as_bytes());
            (position, workspace)
        });
        Ok(request.cut(&window, DEFAULT_SORT, found.collect()))
    }

    /// Changes what a workspace says of itself, or what it sets.
    pub async fn update_workspace(
        &self,
        call: Call,
        name: &WorkspaceName,
        patch: UpdateWorkspace,
    ) -> Result<Workspace> {
        let (call, _) = self.within(call, name).await?;
        let permit = self
            .authorize(&call, Action::WorkspaceUpdate, Resource::Workspace)
            .await?;
        if let Some(description) = &patch.description {
            check_description(description.as_deref())?;
        }
        let locks = [self.workspace_lock(name)?];
        let mut unit = self.begin(&call, &permit, &locks).await?;
        let before = unit.workspace().await?;
        let mut after = before.clone();
        after.settings = before.settings.patched(patch.settings)?;
        if let Some(description) = patch.description {
            after.description = description;
        }
        let mut changes = before.settings.changes(&after.settings);
        if before.description != after.description {
            let (before, after) = (before.description, after.description.clone());
            changes.push(change("description", before, after));
        }
        after.updated_at = unit.now;
        unit.put_workspace(&after)?;
        unit.record(Note {
            changes,
            ..Note::new(EventName::WorkspaceUpdated, object(&after.name))
        })?;
        unit.commit_settings().await?;
        Ok(after)
    }

    /// The exclusive right to a workspace's record.
    pub(super) fn workspace_lock(
        &self,
        name: &WorkspaceName,
    ) -> Result<crate::store::port::LockKey> {
        let system = self.tables(WorkspaceId::SYSTEM)?;
        Ok(key::name_lock(&system.workspace_hash(name)))
    }
}

impl Unit<'_> {
    /// The record of the unit's workspace.
    pub(super) async fn workspace(&mut self) -> Result<Workspace> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        let found = system
            .workspace(&mut self.txn, self.tables.workspace)
            .await?;
        found.ok_or_else(no_workspace)
    }

    /// Writes a workspace's record. The unit holds its name's lock.
    pub(super) fn put_workspace(&mut self, workspace: &Workspace) -> Result<()> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        system.put_workspace(&mut *self.txn, workspace)
    }

    /// Writes a new workspace with its key, unless its name is taken. The unit holds the name's lock.
    pub(super) async fn put_new_workspace(
        &mut self,
        name: WorkspaceName,
        description: Option<String>,
        settings: Settings,
        created_by: Option<Author>,
    ) -> Result<Workspace> {
        let system = self.engine.tables(WorkspaceId::SYSTEM)?;
        if system.workspace_id(&mut self.txn, &name).await?.is_some() {
            return Err(Error::new(
                Code::AlreadyExists,
                format!("a workspace named `{name}` exists"),
            )
            .with("field", "name"));
        }
        let keyring = &self.engine.keyring;
        let id = WorkspaceId::new(self.now, &keyring.entropy().bytes()?);
        let ((at, wrapped), _) = tables::unlock_new(keyring, id)?;
        self.txn.put(at, wrapped)?;
        let workspace = Workspace {
            id,
            name,
            description,
            settings,
            created_at: self.now,
            created_by,
            updated_at: self.now,
            stop: None,
        };
        self.put_workspace(&workspace)?;
        let mut changes = vec![change("name", None, Some(workspace.name.to_string()))];
        changes.extend(Settings::default().changes(&settings));
        if let Some(description) = &workspace.description {
            changes.push(change("description", None, Some(description.clone())));
        }
        self.record(Note {
            changes,
            ..Note::new(EventName::WorkspaceCreated, object(&workspace.name))
        })?;
        Ok(workspace)
    }
}
