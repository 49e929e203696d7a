//! `leasehold dev`: a vault at once, with everything that the tour needs, on loopback.

use std::{fs, os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{
    init::{ADMIN, create_admin, create_agent},
    process::{self, Failure},
    running::{Running, access_policies, lease_policies, open, unseal},
    unseal::{new_root_key, root_key},
};
use crate::{
    authn::DEFAULT_WORKSPACE,
    cli::{DevArgs, Output},
    clock::SystemTime,
    config::Config,
    crypto::entropy::{Entropy, OsEntropy},
    domain::{
        id::WorkspaceId,
        name::{IdentityName, Metadata, WorkspaceName},
        policy::LeasePolicy,
        principal::{IdentityType, RateLimit},
        retention::CLASSES,
        secret::SecretText,
        time::Span,
    },
    engine::{Call, CreateCredential, Engine, Opened},
};

/// The agent that a development vault comes with.
const AGENT: &str = "claude-code";
/// The credential that a development vault comes with.
const SAMPLE: &str = "sample-api-key";

/// The line of `--output json`: the first and only one on stdout.
#[derive(Serialize)]
struct Started {
    address: String,
    workspace: &'static str,
    /// Null where it was shown by an earlier start.
    admin_key: Option<String>,
    agent_key: Option<String>,
    agent: &'static str,
    data_dir: String,
}

pub(super) async fn run(args: DevArgs) -> Result<(), Failure> {
    if !args.listen.ip().is_loopback() {
        return Err("`leasehold dev` listens on loopback only; use `leasehold server` with TLS for other machines".into());
    }
    let folder = Folder::choose(args.data_dir)?;
    let mut config = Config::development(folder.path.clone());
    config.server.listen = args.listen;
    config.reaper.enabled = !args.serving.danger_disable_reaper;
    config.audit.sealing = !args.serving.danger_disable_sealing;
    config.audit.indexing = !args.danger_disable_index;
    if let Some(kept) = args.retention {
        let kept = Span::from_millis(u64::try_from(kept.as_millis())?);
        config.retention.closed_leases = kept;
        config.retention.audit.ages = [Some(kept); CLASSES];
    }
    config.log.format = args.serving.log_format.unwrap_or(config.log.format);
    if let Ok(filter) = std::env::var("RUST_LOG") {
        config.log.filter = filter;
    }
    config.policies.dir = args
        .policies
        .or_else(|| Some(PathBuf::from("policies")).filter(|dir| dir.is_dir()));
    process::log(&config.log)?;
    let policies = lease_policies(&config)?;
    let access = access_policies(&config)?;
    let vault = match Opened::read(open(&config)?)? {
        Opened::Sealed(vault) => vault,
        Opened::Empty(vault) => {
            let (root, how) = new_root_key(&config.root, &OsEntropy)?;
            vault.initialise(&root, how, Arc::new(OsEntropy), &SystemTime)?
        }
    };
    let root = root_key(&config.root, vault.unseal())?;
    let engine = unseal(vault, &root, policies, access, &config).await?;
    drop(root);
    let keys = furnish(&engine).await?;
    let running = Running::start(&config, engine).await?;
    let started = Started {
        address: format!("http://{}", running.address),
        workspace: DEFAULT_WORKSPACE,
        admin_key: keys.admin,
        agent_key: keys.agent,
        agent: AGENT,
        data_dir: folder.path.display().to_string(),
    };
    process::say(&match args.output {
        Output::Json => serde_json::to_string(&started)?,
        Output::Text => describe(&started, folder.temporary),
    })?;
    let stopped = running.until_stopped().await;
    folder.clean_up();
    stopped
}

/// The data folder, and whether it goes when the vault does.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn choose(named: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(path) = named {
            return Ok(Self {
                path,
                temporary: false,
            });
        }
        let entropy: &dyn Entropy = &OsEntropy;
        let random = u64::from_be_bytes(entropy.bytes()?);
        let path = std::env::temp_dir().join(format!("leasehold-dev-{random:016x}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                format!(
                    "cannot make the temporary data folder `{}`: {error}",
                    path.display()
                )
            })?;
        Ok(Self {
            path,
            temporary: true,
        })
    }

    fn clean_up(&self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, "the temporary data folder could not be removed");
        }
    }
}

/// Keys that were made now; none where an earlier start made and showed them.
struct Keys {
    admin: Option<String>,
    agent: Option<String>,
}

/// Makes what is missing: the workspace, the administrator, the agent, the sample credential.
async fn furnish(engine: &Engine) -> Result<Keys, Failure> {
    let name = WorkspaceName::parse(DEFAULT_WORKSPACE, "workspace")?;
    let workspace = match engine.find_workspace(&name).await? {
        Some(workspace) => workspace,
        None => {
            engine.note_initialised().await?;
            engine.create_workspace(&name).await?
        }
    };
    let mut keys = Keys {
        admin: None,
        agent: None,
    };
    let admin = IdentityName::parse(ADMIN, "name")?;
    if engine
        .find_identity(workspace, IdentityType::Human, &admin)
        .await?
        .is_none()
    {
        let key = create_admin(engine, workspace, RateLimit::Unlimited).await?;
        store_sample(engine, &key).await?;
        keys.admin = Some(key.expose().to_owned());
    }
    let agent = IdentityName::parse(AGENT, "name")?;
    if engine
        .find_identity(workspace, IdentityType::Agent, &agent)
        .await?
        .is_none()
    {
        keys.agent = Some(make_agent(engine, workspace, &agent).await?);
    }
    Ok(keys)
}

async fn make_agent(
    engine: &Engine,
    workspace: WorkspaceId,
    name: &IdentityName,
) -> Result<String, Failure> {
    let key = create_agent(engine, workspace, name, RateLimit::Unlimited).await?;
    // The one time that the key is shown is now.
    Ok(key.expose().to_owned())
}

async fn store_sample(engine: &Engine, admin: &SecretText) -> Result<(), Failure> {
    let entered = engine.enter();
    let header = SecretText::new(format!("Bearer {}", admin.expose()));
    let principal = engine
        .authenticator()?
        .authenticate(Some(header.expose()), None, engine.now())
        .await;
    let principal = principal.map_err(|refusal| refusal.error)?;
    let entropy: &dyn Entropy = &OsEntropy;
    let random = u128::from_be_bytes(entropy.bytes()?);
    let metadata = [
        ("service", "sample"),
        ("environment", "development"),
        ("team", "you"),
    ];
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let command = CreateCredential {
        name: crate::domain::name::CredentialName::parse(SAMPLE, "name")?,
        kind: crate::domain::kind::CredentialType::ApiKey,
        value: SecretText::new(format!("sample-{random:032x}")),
        description: Some("A made-up key to try things with".to_owned()),
        metadata: Metadata::new(metadata)?,
        policy: LeasePolicy::default(),
        canary: false,
    };
    let call = Call {
        principal,
        origin: Default::default(),
        idempotency: None,
        entered,
    };
    engine.create_credential(&call, command).await?;
    Ok(())
}

fn describe(started: &Started, temporary: bool) -> String {
    let shown = |key: &Option<String>| {
        key.clone()
            .unwrap_or_else(|| "(shown when it was made)".to_owned())
    };
    let admin = shown(&started.admin_key);
    let agent = shown(&started.agent_key);
    let fate = if temporary {
        "temporary: it goes when the vault stops"
    } else {
        "kept"
    };
    let Started {
        address, data_dir, ..
    } = started;
    let tour = TOUR
        .replace("{address}", address)
        .replace("{admin}", &admin)
        .replace("{agent}", &agent);
    format!(
        "Leasehold is serving at {address}\n\n  \
         data folder   {data_dir} ({fate})\n  \
         admin key     {admin}\n  \
         agent key     {agent}   (identity {AGENT})\n  \
         credential    {SAMPLE}\n  \
         API explorer  {address}/api-docs/\n\n\
         The keys are shown once. Paste this into another terminal; it uses curl and sed only.\n\n{tour}\n\
         Stop with Ctrl-C."
    )
}

/// The main job with curl. `{…}` are replaced.
const TOUR: &str = r#"export VAULT={address} ADMIN={admin} AGENT={agent}
post() { curl -sS -X POST "$VAULT$2" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' -d "$3"; echo; }
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# Store a key (admin), lease it (agent), redeem the handle.
post $ADMIN /v1/credentials '{"name":"stripe-key","type":"api-key","value":"sk_test_one","policy":{"extends":"development","delivery":["reveal"]}}'
FIRST=$(post $AGENT /v1/leases '{"credential_name":"stripe-key","ttl":"30m","purpose":"the tour"}')
HANDLE1=$(echo "$FIRST" | field handle); LEASE1=$(echo "$FIRST" | field id)
post $AGENT /v1/handles/redeem "{\"handle\":\"$HANDLE1\"}"

# Rotate while that lease is open: a new lease gets the new value, the first one keeps the old.
post $ADMIN /v1/credentials/stripe-key/rotate '{"new_value":"sk_test_two"}'
SECOND=$(post $AGENT /v1/leases '{"credential_name":"stripe-key","ttl":"30m","purpose":"the tour"}')
HANDLE2=$(echo "$SECOND" | field handle)
post $AGENT /v1/handles/redeem "{\"handle\":\"$HANDLE2\"}"
post $AGENT /v1/handles/redeem "{\"handle\":\"$HANDLE1\"}"

# Release the first: the old version retires, its value is erased.
post $AGENT /v1/leases/$LEASE1/release '{}'
curl -sS "$VAULT/v1/credentials/stripe-key/versions" -H "Authorization: Bearer $ADMIN"; echo
"#;
