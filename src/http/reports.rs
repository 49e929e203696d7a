//! `/v1/reports`.

use std::net::IpAddr;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use ipnet::IpNet;

use super::{
    Surface, audit,
    caller::{Caller, Presented},
    error::ApiError,
    markdown,
    query::{Paging, Params},
    wire::*,
};
use crate::{
    domain::{
        error::{Error, Result},
        id::{CredentialId, IdentityId, LeaseId},
        name::{CredentialName, IdentityName},
        principal::IdentityType,
        time::Ttl,
    },
    engine::{ChosenCredential, ChosenIdentity, ExposureQuery, HistoryOf, StaleKind},
};

/// The route of a report that reads a year of history where it is asked to.
pub(super) const EXPOSURE_ROUTE: &str = "/v1/reports/exposure";
/// How long that may take.
pub(super) const EXPOSURE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5 * 60);
/// How long something is unused before it is stale, where the request does not say.
const STALE_AFTER: Ttl = Ttl::from_secs(90 * 24 * 60 * 60);
const MARKDOWN: &str = "text/markdown";

type Answer<T> = std::result::Result<T, ApiError>;

/// How the report is answered.
enum Format {
    Json,
    Signed,
    Markdown,
}

impl Format {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "signed" => Some(Self::Signed),
            "markdown" => Some(Self::Markdown),
            _ => None,
        }
    }

    /// What the parameter says, else what the client accepts first.
    fn of(params: &mut Params, headers: &HeaderMap) -> Result<Self> {
        let asked = params.read("format", "`json`, `signed` or `markdown`", Self::parse)?;
        let accepts = headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .and_then(|accept| accept.split(',').next())
            .is_some_and(|first| first.split(';').next().map(str::trim) == Some(MARKDOWN));
        Ok(asked.unwrap_or(match accepts {
            true => Self::Markdown,
            false => Self::Json,
        }))
    }
}

/// Tells who could have used a credential, by history and by what is open now: which identities held it, when and how,
/// for what, for whom, from where, what is open still, which versions were revealed, what was denied, and what ends each
/// of them. A lease counts that was open at any moment from `since` to `until`. At least one of `credential_name`,
/// `credential_id`, `identity`, `session_id` and `source` is needed. The reading becomes part of history.
#[utoipa::path(get, path = "/v1/reports/exposure", tag = "reports", operation_id = "exposure_report",
    params(("credential_name" = Option<String>, Query), ("credential_id" = Option<String>, Query, description = "Tells two apart that had the same name one after the other"),
        ("version" = Option<u32>, Query, description = "Of the credential"),
        ("identity" = Option<String>, Query, description = "Who held the lease, asked for it or took its value: a name, `TYPE/NAME` or an id"),
        ("session_id" = Option<String>, Query), ("source" = Option<String>, Query, description = "An address, or a range such as `10.0.0.0/8`"),
        ("since" = Option<String>, Query), ("until" = Option<String>, Query, description = "Now where it is not given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of a report that is `truncated`"),
        ("format" = Option<String>, Query, description = "`json`; `signed`, a statement with the vault's signature; or `markdown`")),
    responses((status = 200, content((Success<ReportBody> = "application/json"), (String = "text/markdown"))),
        (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn exposure(
    State(surface): State<Surface>,
    presented: Presented,
    caller: Caller,
    headers: HeaderMap,
    mut params: Params,
) -> Answer<Response> {
    let format = Format::of(&mut params, &headers)?;
    let query = query(&mut params)?;
    params.finish()?;
    let engine = surface.engine();
    let call = caller.call();
    let report = engine.exposure(&call, &query).await?;
    audit::still(&surface, &presented, &call, HistoryOf::Workspace).await?;
    Ok(match format {
        Format::Json => Success::of(ReportBody(report)).into_response(),
        Format::Signed => {
            let signed = engine.signed_exposure(&report)?;
            Success::of(ReceiptBody::from(signed)).into_response()
        }
        Format::Markdown => {
            let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
            (kind, markdown::page(&report)).into_response()
        }
    })
}

fn query(params: &mut Params) -> Result<ExposureQuery> {
    let name = params.text("credential_name");
    let id = params.read(
        "credential_id",
        "a credential id such as `crd_…`",
        CredentialId::parse,
    )?;
    let credential = match (name, id) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "credential_id",
                "`credential_name` and `credential_id` exclude each other",
            ));
        }
        (Some(name), None) => Some(ChosenCredential::Name(CredentialName::parse(
            &name,
            "credential_name",
        )?)),
        (None, id) => id.map(ChosenCredential::Id),
    };
    let expected = "an address, or a range such as `10.0.0.0/8`";
    Ok(ExposureQuery {
        credential,
        version: params.number("version")?,
        identity: params
            .text("identity")
            .map(|text| identity(&text))
            .transpose()?,
        session: params.text("session_id"),
        source: params.read("source", expected, |text| {
            let range: Option<IpNet> = text.parse().ok();
            range.or_else(|| text.parse().ok().map(|one: IpAddr| IpNet::from(one)))
        })?,
        since: params.time("since")?,
        until: params.time("until")?,
        cursor: params.read("cursor", "one that this report gave", LeaseId::parse)?,
    })
}

fn identity(text: &str) -> Result<ChosenIdentity> {
    if let Some(id) = IdentityId::parse(text) {
        return Ok(ChosenIdentity::Id(id));
    }
    let typed = text
        .split_once('/')
        .and_then(|(kind, name)| Some((IdentityType::parse(kind)?, name)));
    match typed {
        Some((kind, name)) => Ok(ChosenIdentity::Typed(
            kind,
            IdentityName::parse(name, "identity")?,
        )),
        None => Ok(ChosenIdentity::Name(IdentityName::parse(text, "identity")?)),
    }
}

/// Lists the credentials that are due for rotation, the most overdue first: their value outlived a lease that had shown
/// it and their policy has `rotate_after_reveal`, `rotate_every` has passed, or their provider's own expiry is near.
#[utoipa::path(get, path = "/v1/reports/rotation-due", tag = "reports", operation_id = "rotation_due_report",
    params(("within" = Option<String>, Query, description = "How near an upstream expiry is, such as `30d`, the default"),
        Paging, ("sort" = Option<String>, Query, description = "`due_at` or `name`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<DueRotationBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn rotation_due(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<DueRotationBody>>> {
    let request = params.page()?;
    let within = params
        .text("within")
        .map(|text| Ttl::parse(&text, "within"))
        .transpose()?;
    params.finish()?;
    let now = surface.engine().now();
    let page = surface
        .engine()
        .rotation_due(&caller.call(), within, &request)
        .await?;
    Ok(Listing::of(page, |due| DueRotationBody::new(due, now)))
}

/// Lists what was not used for a time, or never since it was made, the longest unused first: credentials, identities,
/// API keys and access tokens that could still be used. Each takes the scope to read its kind.
#[utoipa::path(get, path = "/v1/reports/stale", tag = "reports", operation_id = "stale_report",
    params(("unused_for" = Option<String>, Query, description = "For how long, such as `90d`, the default"),
        ("kind" = Option<String>, Query, description = "`credential`, `identity`, `api-key` or `token`; every one where it is not given"),
        Paging, ("sort" = Option<String>, Query, description = "`idle_since` or `name`, with `-` in front to reverse")),
    responses((status = 200, body = Listing<StaleBody>), (status = "4XX", body = Failure), (status = 503, body = Failure)))]
pub(super) async fn stale(
    State(surface): State<Surface>,
    caller: Caller,
    mut params: Params,
) -> Answer<Json<Listing<StaleBody>>> {
    let request = params.page()?;
    let unused_for = params
        .text("unused_for")
        .map(|text| Ttl::parse(&text, "unused_for"))
        .transpose()?;
    let kind = params.read(
        "kind",
        "`credential`, `identity`, `api-key` or `token`",
        StaleKind::parse,
    )?;
    params.finish()?;
    let page = surface
        .engine()
        .stale(
            &caller.call(),
            unused_for.unwrap_or(STALE_AFTER),
            kind,
            &request,
        )
        .await?;
    Ok(Listing::of(page, StaleBody::from))
}
