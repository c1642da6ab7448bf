//! The contract of [`ServerRegistry`], a function per clause; each needs a registry with the
//! [`servers`] of this module and no others.

use std::{sync::Arc, time::Duration};

use super::assert_same;
use crate::{
    mcp::Transport,
    name::ServerName,
    project::Project,
    registry::{
        auth::Auth,
        call_limits::{CallLimit, CallLimits},
        grant::{ProjectGrant, ProjectGrants},
        oauth_grant::OAuthGrant,
        oauth2::OAuth2,
        server::Server,
        server_registry::ServerRegistry,
        share_session::ShareSession,
        tool_selection::{SelectedTool, ToolPolicy},
    },
    scopes::Scopes,
    subject_token_type::SubjectTokenType,
};

/// Runs every clause, each with a registry from `make`, which gets the [`servers`] to put into it.
pub async fn all<R: ServerRegistry>(make: impl AsyncFn(Vec<Server>) -> R) {
    macro_rules! run {
        ($($clause:ident)*) => {$(
            println!("{}::{}", module_path!(), stringify!($clause));
            $clause(make(servers()).await).await;
        )*};
    }
    run! {
        a_project_finds_its_own_servers_and_those_of_all
        what_is_not_there_and_what_is_somebody_elses_are_both_absent
        disabled_servers_are_found
        every_server_is_whole
        an_identity_stays_the_same
        what_a_project_sees_is_all_that_it_finds_or_nothing
    }
}

/// A grant of everything, of nothing, and one with every limit.
fn grants() -> [ProjectGrant; 3] {
    let limits = (1..).zip(CallLimit::ALL);
    let limits = limits.fold(CallLimits::default(), |limits, (calls, of)| {
        limits.with(of, calls).unwrap()
    });
    let some = ProjectGrant::new("web \"2\"");
    let some = some.with_tools(["ask_question", "delete/page \"x\""]);
    [
        ProjectGrant::new("all"),
        ProjectGrant::new("none").with_tools([""; 0]).unwrap(),
        some.unwrap()
            .with_limits(limits)
            .add_tool_limits("ask_question", limits)
            .unwrap(),
    ]
}

/// The servers that a registry is tried with, all of the organization `default`: one of each kind
/// of authentication, for all projects, for some, and one that is disabled.
pub fn servers() -> Vec<Server> {
    let new = |name| Server::new(name, "https://mcp.example.com/mcp?team=a").unwrap();
    let headers = [
        ("Authorization", "Bearer s3cret"),
        ("X-Api-Key", "s3cret \"2\""),
    ];
    let everyone = Server {
        display_name: Some("Everyone's \"Ключ\" \u{1f511}".to_owned()),
        description: Some("Line 1\nline 2, 100 % of it_".to_owned()),
        transport: Transport::Sse,
        grants: ProjectGrants::new(grants()).unwrap(),
        instructions: true,
        share_session: ShareSession::Caller,
        trace_context: Some(false),
        call: Some(Duration::from_secs(90)),
        call_max: Some(Duration::from_secs(86_400)),
        ..new("everyone")
    };
    let tools = [
        SelectedTool::from("ask_question"),
        SelectedTool::new("delete/page \"x\"", ToolPolicy::AskFirst),
        SelectedTool::from("search").always(),
        SelectedTool::new("write", ToolPolicy::AskFirst).always(),
    ];
    let oauth = OAuth2 {
        grant: OAuthGrant::TokenExchange,
        client_id: Some("client".to_owned()),
        client_secret: Some("s3cret: 3".into()),
        audience: Some("tracker".to_owned()),
        subject_audience: Some("gateway".to_owned()),
        subject_issuer: Some("https://login.example.com".to_owned()),
        subject_token_type: Some(SubjectTokenType::IdToken),
        issuer: Some("https://as.example.com".to_owned()),
        scopes: Scopes::parse("files:read files:write").unwrap(),
        ..OAuth2::default()
    };
    vec![
        everyone,
        new("web-only")
            .with_projects(["web"])
            .unwrap()
            .with_auth(Auth::static_headers(headers).unwrap()),
        new("web-and-batch")
            .with_projects(["web", "batch"])
            .unwrap()
            .with_tools(tools)
            .unwrap(),
        new("connected").with_auth(Auth::oauth2(oauth).unwrap()),
        new("passed-through").with_auth(Auth::token_passthrough(Some("x-token")).unwrap()),
        new("switched-off").with_enabled(false),
    ]
}

async fn find(
    registry: &impl ServerRegistry,
    project: &Project,
    names: &[&str],
) -> Vec<Arc<Server>> {
    let names: Vec<ServerName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let mut found = registry.find(project, &names).await.unwrap();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

async fn names(registry: &impl ServerRegistry, project: &Project, names: &[&str]) -> Vec<String> {
    let found = find(registry, project, names).await;
    found.iter().map(|server| server.name.to_string()).collect()
}

/// A server is found by the projects that it names, or by all if it names none.
pub async fn a_project_finds_its_own_servers_and_those_of_all(registry: impl ServerRegistry) {
    let asked = ["web-only", "everyone", "web-and-batch"];
    // Twice: the second answer may come from memory.
    for _ in 0..2 {
        let web = Project::new("web");
        assert_eq!(
            names(&registry, &web, &asked).await,
            ["everyone", "web-and-batch", "web-only"]
        );
        let batch = Project::new("batch");
        assert_eq!(
            names(&registry, &batch, &asked).await,
            ["everyone", "web-and-batch"]
        );
        let other = Project::default();
        assert_eq!(names(&registry, &other, &asked).await, ["everyone"]);
        assert_eq!(names(&registry, &web, &["web-only"]).await, ["web-only"]);
        assert!(names(&registry, &web, &[]).await.is_empty());
    }
}

/// A server that does not exist and one that the project may not use are both absent.
pub async fn what_is_not_there_and_what_is_somebody_elses_are_both_absent(
    registry: impl ServerRegistry,
) {
    let asked = ["web-only", "nobody-s", "everyone"];
    for _ in 0..2 {
        let batch = Project::new("batch");
        assert_eq!(names(&registry, &batch, &asked).await, ["everyone"]);
        for organization in ["other", "", "Default", "default\0", "défaut"] {
            let other = Project::new("web").with_organization(organization);
            assert!(names(&registry, &other, &asked).await.is_empty());
        }
        for project in ["Web", "we", "web ", "web\0", ""] {
            let other = Project::new(project);
            assert_eq!(names(&registry, &other, &asked).await, ["everyone"]);
        }
    }
}

/// A disabled server is found, since the layer tells callers why it does not use it.
pub async fn disabled_servers_are_found(registry: impl ServerRegistry) {
    let found = find(&registry, &Project::default(), &["switched-off"]).await;
    assert!(!found[0].enabled);
}

/// A server that is found is all of the record, with its credentials opened.
pub async fn every_server_is_whole(registry: impl ServerRegistry) {
    for meant in servers() {
        let project = Project::new("web");
        for _ in 0..2 {
            let found = find(&registry, &project, &[meant.name.as_str()]).await;
            assert_eq!(found.len(), 1, "{}", meant.name);
            assert_same(&found[0], &meant);
        }
    }
}

/// The id of a server stays the same, since caches and credentials go by it.
pub async fn an_identity_stays_the_same(registry: impl ServerRegistry) {
    let asked = ["everyone", "web-only", "connected"];
    let project = Project::new("web");
    let first = find(&registry, &project, &asked).await;
    let again = find(&registry, &project, &asked).await;
    for (index, server) in first.iter().enumerate() {
        assert_eq!(server.id, again[index].id);
        assert!(first[..index].iter().all(|other| other.id != server.id));
    }
}

/// What a project sees is all that it finds, and nothing else; a registry may also tell nobody.
pub async fn what_a_project_sees_is_all_that_it_finds_or_nothing(registry: impl ServerRegistry) {
    let all: Vec<_> = servers().into_iter().map(|server| server.name).collect();
    let web = Project::new("web");
    let tells = !registry.visible(&web).await.unwrap().is_empty();
    let ids = |servers: Vec<Arc<Server>>| {
        let ids = servers
            .iter()
            .map(|server| (server.name.clone(), server.id.clone()));
        let mut ids: Vec<_> = ids.collect();
        ids.sort_by(|a, b| a.0.cmp(&b.0));
        ids
    };
    let projects = ["batch", "default", "Web", ""].map(Project::new);
    let elsewhere = web.clone().with_organization("other");
    // Twice: the second answer may come from memory.
    for project in [web, elsewhere].iter().chain(&projects).cycle().take(12) {
        let found = match tells {
            true => registry.find(project, &all).await.unwrap(),
            false => Vec::new(),
        };
        let visible = registry.visible(project).await.unwrap();
        assert_eq!(ids(visible), ids(found));
    }
}
