//! A vault that runs already, named by `--addr`. Credentials of the bench's own are stored there and deleted again.

use zeroize::Zeroizing;

use super::{
    Failure,
    args::VaultArgs,
    client::Peer,
    site::{Key, Site},
};

/// Variables that hold keys: never arguments, which every process of the machine can read.
const ADMIN_KEY: &str = "LEASEHOLD_KEY";
const AGENT_KEY: &str = "LEASEHOLD_AGENT_KEY";

/// A running vault.
pub(super) struct Remote {
    pub(super) site: Site,
}

impl Remote {
    /// Reads address and keys; nothing is sent yet.
    pub(super) fn read(
        address: &str,
        workspace: Option<&str>,
        vault: &VaultArgs,
    ) -> Result<Self, Failure> {
        let key = |name: &str| {
            let key = std::env::var(name).ok().filter(|key| !key.is_empty());
            key.map(|key| Key::new(Zeroizing::new(key)))
        };
        let admin = key(ADMIN_KEY).ok_or_else(|| {
            format!("{ADMIN_KEY} is not set; it holds an administrator's API key (`lhk_…`)")
        })?;
        let agent = key(AGENT_KEY).unwrap_or_else(|| admin.clone());
        let mut random = [0; 6];
        getrandom::fill(&mut random)?;
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            site: Site {
                peer: Peer {
                    address: authority(address)?,
                    workspace: workspace.map(str::to_owned),
                },
                admin,
                agent,
                pid: None,
                prefix: format!("bench-{random}").into(),
                credentials: vault.credentials,
            },
        })
    }
}

/// Host and port of an address.
fn authority(address: &str) -> Result<String, Failure> {
    let refuse = || {
        format!(
            "`{address}` cannot be measured: the generator speaks plain HTTP; use http://HOST:PORT"
        )
    };
    let url = url::Url::parse(address).map_err(|_| refuse())?;
    let (Some(host), Some(port), "http") =
        (url.host_str(), url.port_or_known_default(), url.scheme())
    else {
        return Err(refuse().into());
    };
    if !matches!(url.path(), "" | "/") {
        return Err(refuse().into());
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_http_and_nothing_more() {
        let read = |address| authority(address).ok();
        assert_eq!(read("http://v:8200/"), Some("v:8200".to_owned()));
        assert_eq!(read("http://[::1]"), Some("[::1]:80".to_owned()));
        for address in ["https://v:8200", "v:8200", "http://v/base", "v", ""] {
            assert_eq!(read(address), None, "{address}");
        }
    }
}
