//! What every list takes: how many rows, from where, in which order; and filters as a query.

/// The parameters of a query, in order.
pub(super) type Query = Vec<(String, String)>;

/// Which part of a list to show.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Paging")]
pub struct Paging {
    /// The most rows to show, 1 to 200
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: Option<u32>,
    /// Go on where the page before ended
    #[arg(
        long,
        value_name = "CURSOR",
        allow_hyphen_values = true,
        conflicts_with = "offset"
    )]
    cursor: Option<String>,
    /// Skip this many rows
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Sort by a field; a leading `-` reverses (created_at, -created_at, …)
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
}

impl Paging {
    /// The filters that were given, and the paging, as a query.
    pub(super) fn query(&self, filters: &[(&str, Option<&str>)]) -> Query {
        let mut query = Query::new();
        let mut add = |name: &str, value: Option<String>| {
            query.extend(value.map(|value| (name.to_owned(), value)));
        };
        for (name, value) in filters {
            add(name, value.map(str::to_owned));
        }
        add("limit", self.limit.map(|n| n.to_string()));
        add("cursor", self.cursor.clone());
        add("offset", self.offset.map(|n| n.to_string()));
        add("sort", self.sort.clone());
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        assert!(Paging::default().query(&[("state", None)]).is_empty());
        let paging = Paging {
            limit: Some(5),
            sort: Some("-created_at".into()),
            ..Paging::default()
        };
        let query = paging.query(&[("state", Some("active")), ("name", None)]);
        let pairs: Vec<_> = query
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("state", "active"), ("limit", "5"), ("sort", "-created_at")]
        );
    }
}
