//! The tables of the page.

use super::{
    DELETED, Page, or_nothing, remedy,
    text::{NOTHING, cell_code, inert},
    who, who_of,
};
use crate::engine::{Agent, ExposedLease, Exposure, UsedFrom};

pub(super) fn credentials(page: &mut Page, report: &Exposure) {
    if report.credentials.is_empty() {
        return;
    }
    page.heading("Versions");
    let rows = report.credentials.iter().flat_map(|credential| {
        credential.versions.iter().map(move |version| {
            let canary = if credential.canary { " (canary)" } else { "" };
            vec![
                format!("{}{canary}", inert(credential.name.as_str())),
                version.number.to_string(),
                version.state.to_owned(),
                match (version.revealed, version.revealed_at) {
                    (true, Some(at)) => format!("**yes**, first {at}"),
                    (true, None) => "**yes**".to_owned(),
                    (false, _) if version.state == DELETED => "not known".to_owned(),
                    (false, _) => "no".to_owned(),
                },
                version
                    .created_by
                    .as_ref()
                    .map_or_else(|| NOTHING.to_owned(), who),
                version.leases.to_string(),
                version.open_leases.to_string(),
                or_nothing(version.erased_at),
                remedy(version.remedy.as_ref()),
            ]
        })
    });
    page.table(
        &[
            "Credential",
            "Version",
            "State",
            "Revealed",
            "Supplied by",
            "Leases",
            "Open",
            "Erased",
            "End it",
        ],
        rows,
    );
}

fn state(agent: &Agent) -> String {
    match (agent.state, &agent.workspace) {
        ("foreign", _) => "of another workspace".to_owned(),
        (state, Some(workspace)) => format!("{state}, of the workspace {}", inert(workspace)),
        (state, None) => state.to_owned(),
    }
}

pub(super) fn agents(page: &mut Page, report: &Exposure) {
    if !report.agents.is_empty() {
        page.heading("Agents");
        let rows = report.agents.iter().map(|agent| {
            vec![
                who_of(report, &agent.who),
                agent.roles.join(", "),
                state(agent),
                agent.leases.to_string(),
                agent.open_leases.to_string(),
                if agent.revealed { "**yes**" } else { "no" }.to_owned(),
                agent.redemptions.to_string(),
                agent.first_lease_at.to_string(),
                or_nothing(agent.last_use_at),
                remedy(agent.remedy.as_ref()),
            ]
        });
        page.table(
            &[
                "Identity",
                "Role",
                "State",
                "Leases",
                "Open",
                "Read the value",
                "Redemptions",
                "First lease",
                "Last use",
                "End it",
            ],
            rows,
        );
    }
    if !report.sessions.is_empty() {
        page.heading("Sessions");
        let rows = report.sessions.iter().map(|session| {
            vec![
                cell_code(&session.session_id),
                inert(&session.holders.join(", ")),
                session.leases.to_string(),
                session.open_leases.to_string(),
                remedy(session.remedy.as_ref()),
            ]
        });
        page.table(&["Session", "Holders", "Leases", "Open", "End it"], rows);
    }
}

fn place(place: &UsedFrom) -> String {
    let agents = place.user_agent.iter().chain(&place.further_user_agents);
    let mut agents: Vec<_> = agents.map(|agent| inert(agent)).collect();
    if place.more_user_agents > 0 {
        agents.push(format!("{} more", place.more_user_agents));
    }
    if agents.is_empty() {
        agents.push(NOTHING.to_owned());
    }
    format!(
        "{} from {} by {} with {}{}{}",
        place.how,
        or_nothing(place.source_ip),
        agents.join(" and "),
        place
            .proof
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), cell_code),
        match place.count {
            0 | 1 => String::new(),
            n => format!(", {n} times"),
        },
        match place.earlier {
            0 => String::new(),
            n => format!(", {n} before this time"),
        }
    )
}

/// Who held a lease, asked for it, and took the value, where that was somebody else.
fn held(report: &Exposure, lease: &ExposedLease) -> String {
    let mut text = who_of(report, &lease.holder);
    match &lease.requested_by {
        Some(requester) if lease.on_behalf => {
            text += &format!(", asked for by {}", who_of(report, requester));
        }
        Some(_) => {}
        None => text += ", nobody knows who asked for it",
    }
    let others = lease
        .redeemed_by
        .iter()
        .filter(|one| one.id != lease.holder.id);
    let others: Vec<_> = others.map(|one| who_of(report, one)).collect();
    if !others.is_empty() {
        text += &format!(", **redeemed by {}**", others.join(", "));
    }
    text
}

fn lease(report: &Exposure, lease: &ExposedLease) -> Vec<String> {
    let mut places: Vec<_> = lease.used_from.iter().map(place).collect();
    if lease.more_used_from > 0 {
        places.push(format!("{} more", lease.more_used_from));
    }
    if lease.more_proofs > 0 {
        places.push(format!("{} with other keys or tokens", lease.more_proofs));
    }
    let versions: Vec<_> = lease.versions.iter().map(ToString::to_string).collect();
    vec![
        cell_code(&lease.id.to_string()),
        format!(
            "{} {}",
            inert(lease.credential_name.as_str()),
            versions.join(", ")
        ),
        held(report, lease),
        lease
            .session_id
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), cell_code),
        lease
            .purpose
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), inert),
        match lease.canary_alarm {
            true => format!("{}, **canary**", lease.handed.as_str()),
            false => lease.handed.as_str().to_owned(),
        },
        lease.issued_at.to_string(),
        match (lease.open, lease.ended_at) {
            (true, _) => format!("**open** until {}", or_nothing(lease.expires_at)),
            (false, at) => format!("{} {}", lease.state, or_nothing(at)),
        },
        match lease.last_redeemed_at {
            Some(at) => format!("{}, last {at}", lease.redemptions),
            None => lease.redemptions.to_string(),
        },
        places.join("; "),
        remedy(lease.remedy.as_ref()),
    ]
}

pub(super) fn leases(page: &mut Page, report: &Exposure) {
    page.heading("Leases");
    if report.leases.is_empty() {
        return page.line("None was open in this time.");
    }
    page.table(
        &[
            "Lease",
            "Of",
            "Holder",
            "Session",
            "Purpose",
            "How",
            "Issued",
            "Ended",
            "Redemptions",
            "From",
            "End it",
        ],
        report.leases.iter().map(|one| lease(report, one)),
    );
}

pub(super) fn others(page: &mut Page, report: &Exposure) {
    if !report.proofs.is_empty() {
        page.heading("Keys and tokens");
        let rows = report.proofs.iter().map(|proof| {
            vec![
                cell_code(&proof.id),
                proof.r#type.to_owned(),
                proof
                    .identity
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
                proof
                    .made_with
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), cell_code),
                proof.state.to_owned(),
                proof.leases.to_string(),
                remedy(proof.remedy.as_ref()),
            ]
        });
        page.table(
            &["Id", "Type", "Of", "Made with", "State", "Leases", "End it"],
            rows,
        );
    }
    if !report.earlier_readers.is_empty() {
        page.heading("Read before this time");
        let rows = report.earlier_readers.iter().map(|reader| {
            vec![
                who_of(report, &reader.who),
                reader.roles.join(", "),
                format!(
                    "{} {}",
                    inert(reader.credential_name.as_str()),
                    reader.version
                ),
                reader.leases.to_string(),
                reader.last_lease_ended_at.to_string(),
            ]
        });
        page.table(
            &["Identity", "Role", "Read", "Leases", "Last one ended"],
            rows,
        );
    }
    if !report.denied.is_empty() {
        page.heading("Denied attempts");
        let rows = report.denied.iter().map(|denied| {
            vec![
                denied.sequence.to_string(),
                denied.time.to_string(),
                denied.who.as_ref().map_or_else(|| NOTHING.to_owned(), who),
                inert(denied.event),
                inert(&denied.code),
                denied
                    .reason
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
                or_nothing(denied.source_ip),
                denied
                    .user_agent
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
            ]
        });
        page.table(
            &[
                "Record",
                "Time",
                "Identity",
                "Event",
                "Code",
                "Reason",
                "From",
                "User agent",
            ],
            rows,
        );
        let more = report
            .summary
            .denied_attempts
            .saturating_sub(report.denied.len() as u64);
        if more > 0 {
            page.line(format_args!("\n{more} more."));
        }
    }
}
