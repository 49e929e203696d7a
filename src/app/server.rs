//! `leasehold server`: a vault that `init` made, as its configuration says.

use super::{
    process::{self, Failure},
    running::{Running, access_policies, lease_policies, open, unseal},
    unseal::root_key,
};
use crate::{
    cli::ServerArgs,
    config::{Config, Overrides},
    engine::Opened,
};

pub(super) async fn run(args: ServerArgs) -> Result<(), Failure> {
    let overrides = Overrides {
        listen: args.listen,
        data_dir: args.data_dir,
        danger_plain_http: args.danger_plain_http,
        log_format: args.serving.log_format,
        reaper_disabled: args.serving.danger_disable_reaper,
        sealing_disabled: args.serving.danger_disable_sealing,
    };
    let config = Config::load_with(args.config.as_deref(), overrides)?;
    process::log(&config.log)?;
    let policies = lease_policies(&config)?;
    let access = access_policies(&config)?;
    let dir = config.storage.data_dir.display();
    if !config.storage.data_dir.exists() {
        return Err(format!(
            "the data folder `{dir}` does not exist, so it holds no vault; make one with `leasehold init --data-dir {dir}`"
        )
        .into());
    }
    let vault = match Opened::read(open(&config)?)? {
        Opened::Sealed(vault) => vault,
        Opened::Empty(_) => {
            return Err(format!("the data folder `{dir}` holds no vault; make one with `leasehold init --data-dir {dir}`").into());
        }
    };
    let root = root_key(&config.root, vault.unseal())?;
    let engine = unseal(vault, &root, policies, access, &config).await?;
    drop(root);
    Running::start(&config, engine).await?.until_stopped().await
}
