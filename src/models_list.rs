//! `GET …/models`: the aliases of the caller's project before the upstream's own models.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header, response};
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::{
    json::{Edit, Object, array},
    project::Project,
    registry::ModelAlias,
    tool_loop::{Gateway, is_plain},
};

/// The most models of an upstream that are read: marketplaces have a few hundred.
const MODELS: usize = 100_000;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The list, with these aliases before the upstream's own.
    List(Vec<String>),
    /// An alias of this name.
    One(String),
}

/// What a request to the upstream asks for that aliases have a part in; `None` where they have none.
pub(crate) fn asked<B>(gateway: &Gateway, request: &Request<B>) -> Option<Asked> {
    let path = (request.method() == Method::GET).then(|| request.uri().path())?;
    let name = gateway.settings.paths.models(path)?;
    let project: Option<&Project> = request.extensions().get();
    if project.is_none() && gateway.settings.project_required {
        return None;
    }
    let project = project.cloned().unwrap_or_default();
    let rules = gateway.models.rules(project.organization());
    if name.is_empty() {
        let of_project = |alias: &&ModelAlias| alias.projects.contains(project.name());
        let aliases = rules.aliases().iter().filter(of_project);
        let names: Vec<_> = aliases.map(|alias| alias.name.clone()).collect();
        return (!names.is_empty()).then_some(Asked::List(names));
    }
    let name = percent_decode_str(name).decode_utf8().ok()?;
    let alias = rules.alias(project.name(), &name)?;
    Some(Asked::One(alias.name.clone()))
}

/// Asks for the whole list as it is now, in a form that can be read.
pub(crate) fn ask_for_all(headers: &mut HeaderMap) {
    const PARTIAL: [HeaderName; 6] = [
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
    ];
    for name in PARTIAL {
        headers.remove(name);
    }
    let identity = HeaderValue::from_static("identity");
    headers.insert(header::ACCEPT_ENCODING, identity);
}

/// Returns `true` if an answer with this head may be a list.
pub(crate) fn may_be_list(head: &response::Parts) -> bool {
    head.status.is_success() && is_plain(&head.headers)
}

/// Returns `true` if a service that answers so has no list of models at all.
pub(crate) fn has_none(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    )
}

/// The list of these aliases alone.
pub(crate) fn of_aliases(aliases: &[String]) -> Bytes {
    let models: Vec<_> = aliases.iter().map(|alias| model(alias)).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, models.join(",")).into()
}

/// The upstream's list with these aliases first, and without its models of their names; `None` if it
/// has no list of models, in OpenAI's form or as an array alone.
pub(crate) fn merged(body: &Bytes, aliases: &[String]) -> Option<Vec<Bytes>> {
    let text = std::str::from_utf8(body).ok()?;
    let data = match Object::parse(text) {
        Ok(object) => object.get("data")?,
        Err(_) => text.trim(),
    };
    let start = data.as_ptr() as usize - text.as_ptr() as usize;
    let theirs = match data {
        "null" => Vec::new(),
        _ => array(data, MODELS + 1).filter(|theirs| theirs.len() <= MODELS)?,
    };
    let is_hidden = |model: &&str| {
        let id = Object::parse(model).ok();
        let id = id.and_then(|model| model.string("id"));
        id.is_some_and(|id| aliases.iter().any(|alias| *alias == id))
    };
    let theirs = theirs.into_iter().filter(|model| !is_hidden(model));
    let ours = aliases.iter().map(|alias| model(alias));
    let all: Vec<String> = ours.chain(theirs.map(str::to_owned)).collect();
    let edit = Edit::replace(start..start + data.len(), format!("[{}]", all.join(",")));
    Some(Edit::apply(body, vec![edit]))
}

/// An alias as a list of models has it.
pub(crate) fn model(alias: &str) -> String {
    // Nobody knows when it was made; clients want a number.
    let model = json!({"id": alias, "object": "model", "created": 0, "owned_by": "mcp-layer"});
    model.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::json::concat;

    fn list(body: &str, aliases: &[&str]) -> Option<String> {
        let aliases: Vec<_> = aliases.iter().map(ToString::to_string).collect();
        let merged = merged(&Bytes::from(body.to_owned()), &aliases)?;
        Some(String::from_utf8(concat(&merged).to_vec()).unwrap())
    }

    #[test]
    fn aliases_come_first_and_the_rest_stays() {
        let body = r#"{ "object" : "list","data":[ {"id":"a","x":1.0} , {"id":"b"}],"y":[1.50]}"#;
        let merged = list(body, &["é\"", "b"]).unwrap();
        assert!(
            merged.starts_with(r#"{ "object" : "list","data":["#),
            "{merged}"
        );
        assert!(
            merged.ends_with(r#",{"id":"a","x":1.0}],"y":[1.50]}"#),
            "{merged}"
        );
        let merged: Value = serde_json::from_str(&merged).unwrap();
        let ids: Vec<_> = merged["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert_eq!(ids, ["é\"", "b", "a"]);
        assert_eq!(merged["data"][0]["object"], "model");
        assert_eq!(merged["data"][0]["owned_by"], "mcp-layer");
        for empty in [r#"{"data":[]}"#, r#"{"data":null}"#, " [] "] {
            assert!(list(empty, &["a"]).unwrap().contains(r#"[{"#), "{empty}");
        }
    }

    #[test]
    fn an_array_stays_one() {
        let merged = list(" [{\"id\":\"b\"}]\n", &["a"]).unwrap();
        assert!(merged.starts_with(" [{") && merged.ends_with(",{\"id\":\"b\"}]\n"));
    }

    #[test]
    fn what_is_no_list_of_models_is_left_alone() {
        for body in [
            "",
            "[",
            "{}",
            r#"{"data":1}"#,
            r#"{"data":{}}"#,
            r#"{"models":[]}"#,
            "<html>",
        ] {
            assert_eq!(list(body, &["a"]), None, "{body}");
        }
    }
}
