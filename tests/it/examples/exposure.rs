//! `exposure.sh`, the worst day: it says itself what it expects of each step.

use std::process::Command;

use super::{access::path, file, require, run};
use crate::support::Vault;

#[tokio::test]
async fn the_worst_day_ends_as_it_says() {
    require("bash", "curl");
    require("jq", "openssl");
    let vault = Vault::dev();
    let path = path();
    let settings = [
        ("LEASEHOLD_ADDR", vault.address.as_str()),
        ("LEASEHOLD_KEY", vault.admin_key.as_str()),
        ("WORKSPACE", "worst-day"),
        ("PATH", path.as_str()),
    ];
    let output = run(Command::new(file("exposure.sh")), &settings).await;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "before: two agents, a key, a canary\n\
         a day of work: three leases, one rotation\n\
         \x20 deployer for “release 42” in release-42: revealed, released\n\
         \x20 reviewer for “check the | invoices” in review-7: revealed, active\n\
         report signed, verified with openssl, a forgery noticed\n\
         \x20 leasehold credential revoke-version stripe-live 1\n\
         ended: nothing of version 1 is open\n\
         what was read is rotated\n\
         canary touched: the reviewer is stopped\n"
    );
}
