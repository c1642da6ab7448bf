//! `McpService`: HTTP in and out, and the way past the layer for what is not ours.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, header, request};
use http_body::Body;
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt, util::Oneshot};

use crate::{
    body::{self, Excess, McpBody, Read, RequestBody},
    caller::{self, CallerTokens},
    held::Full,
    inner::{Inner, InnerError, restored},
    models_list::{self, Asked},
    name::short,
    refusal::{self, Refusal},
    registry::ModelAlias,
    settings::Limits,
    sniff::may_have_mcp,
    subject_token::{InvalidSubjectToken, SubjectToken},
    tool_loop::{self, ByModel, Gateway, Head, OptInHeaders, Upstream, is_plain},
    within::within,
};

/// The service that [`McpLayer`](crate::McpLayer) makes of an inner one.
///
/// It is always ready: the inner service is made ready just before each call of it, so that none
/// of its permits is held while bodies are read, servers asked or tools run. Back-pressure of the
/// inner service makes a request wait inside of its future.
///
/// # Cancellation
/// Dropping the future ends the exchange: nothing new starts, and the inner service's future is
/// dropped. Tool calls that run are cancelled at their servers; where exchanges are kept, only those
/// that change nothing are, and the others end for a repeat of the request.
#[derive(Clone)]
pub struct McpService<S> {
    inner: S,
    gateway: Arc<Gateway>,
}

/// Marks the answer of a request that opts in, in its extensions: also where the answer is a refusal
/// of ours. An answer without it is the inner service's own, of a request that passed through.
///
/// ```
/// # fn count<B>(answer: &http::Response<B>) -> &'static str {
/// // In a layer outside of this one, such as one that counts.
/// match answer.extensions().get::<mcp_layer::OptedIn>() {
///     Some(_) => "exchange",
///     None => "pass_through",
/// }
/// # }
/// # assert_eq!(count(&http::Response::new(())), "pass_through");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptedIn;

impl<S> McpService<S> {
    pub(crate) fn new(inner: S, gateway: Arc<Gateway>) -> Self {
        Self { inner, gateway }
    }

    /// Takes the token that says who the caller is off its header; what the proxy vouches for, or has
    /// refused, stays.
    fn take_subject<B>(&self, request: &mut Request<B>) {
        let header = self.gateway.settings.subject_header.as_ref();
        let sent = header.and_then(|header| SubjectToken::take(request.headers_mut(), header));
        let extensions = request.extensions_mut();
        let is_settled = extensions.get::<SubjectToken>().is_some()
            || extensions.get::<InvalidSubjectToken>().is_some();
        match sent {
            _ if is_settled => {}
            Some(Ok(token)) => _ = extensions.insert(token),
            Some(Err(invalid)) => _ = extensions.insert(invalid),
            None => {}
        }
    }
}

impl<S, B, RB> Service<Request<B>> for McpService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Send,
{
    type Response = Response<McpBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, RB>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Off every request: they are for MCP servers, and never for the model's provider.
        let tokens = CallerTokens::take(request.headers_mut());
        let opts_in = self.gateway.settings.header_opt_in;
        let opt_in = OptInHeaders::take(request.headers_mut(), opts_in);
        self.take_subject(&mut request);
        let inner = self.inner.clone();
        // An encoded body passes through: decompression belongs outside of this layer.
        let is_read = request.method() == Method::POST && is_plain(request.headers());
        let (paths, path) = (&self.gateway.settings.paths, request.uri().path());
        let is_ours = is_read && paths.contain(path);
        if !(is_ours || is_read && paths.are_beside(path)) {
            let kind = match models_list::asked(&self.gateway, &request) {
                None => Kind::Through {
                    future: inner.oneshot(request.map(RequestBody::through)),
                },
                Some(asked) => {
                    let gateway = self.gateway.clone();
                    let future = Box::pin(models(gateway, inner, request, asked));
                    Kind::Ours { future }
                }
            };
            return ResponseFuture { kind };
        }
        let gateway = self.gateway.clone();
        let (parts, body) = request.into_parts();
        let future: Answering<RB, S::Error> = match is_ours {
            true => {
                Box::pin(async move { answer(gateway, inner, parts, body, (tokens, opt_in)).await })
            }
            false => Box::pin(async move { beside(gateway, inner, parts, body).await }),
        };
        ResponseFuture {
            kind: Kind::Ours { future },
        }
    }
}

/// Answers a request that may opt in; what its headers say to the layer was taken off it.
async fn answer<S, B, RB>(
    gateway: Arc<Gateway>,
    inner: S,
    parts: request::Parts,
    body: B,
    (tokens, opt_in): (CallerTokens, OptInHeaders),
) -> Result<Response<McpBody<RB>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Send,
{
    let limits = &gateway.settings.limits;
    let held = gateway.room.of(&caller::whose(&parts), limits);
    let reading = pin!(body::read(body, limits.body_bytes, held));
    let Ok(read) = within(limits.body_read, reading).await else {
        return Ok(tool_loop::refused(&too_slow(limits)));
    };
    if let Some(excess) = read.excess() {
        return Ok(tool_loop::refused(&too_much(excess, limits)));
    }
    let (may_ask, by_model) = sniffed(&gateway, &parts, &read);
    let is_asked = opt_in.given().is_some() || by_model.is_any();
    let has_default = by_model.default.is_some();
    let body = (may_ask || is_asked && read.is_complete()).then(|| read.bytes());
    let ours = match body {
        Some(body) => {
            let head = Head {
                parts: &parts,
                tokens,
                opt_in,
                by_model,
            };
            tool_loop::read(&gateway, body, head).await
        }
        None => Ok(None),
    };
    match ours {
        Ok(Some(request)) => {
            // The frames are gone; what the request was made of stays until the exchange ends.
            let mut held = read.into_held();
            if let Err(full) = held.add(request.restored_bytes()) {
                return Ok(tool_loop::refused(&too_much(Excess::NoRoom(full), limits)));
            }
            let upstream = Upstream::new(Inner::new(inner), parts, held);
            // The loop is large, and most requests pass: they get a future without it.
            let answer = Box::pin(tool_loop::run(gateway, request, upstream)).await;
            let answer = answer.map(restored).map_err(InnerError::restore);
            answer.map(opted_in)
        }
        Ok(None) => {
            let request = Request::from_parts(parts, RequestBody::replayed(read));
            let mut response = inner.oneshot(request).await?.map(McpBody::through);
            if has_default {
                tool_loop::mark_left_out(response.headers_mut(), UNREAD);
            }
            Ok(response)
        }
        Err(refusal) => Ok(opted_in(tool_loop::refused(&refusal))),
    }
}

/// Marks an answer as one of a request that opts in.
fn opted_in<B>(mut answer: Response<B>) -> Response<B> {
    answer.extensions_mut().insert(OptedIn);
    answer
}

/// Why a default is left out of a request that nobody here can read for certain.
const UNREAD: &str = "the request is no JSON object, or has a member twice";

/// Answers a request to another API of a model's service: it passes, unless it asks for tools.
async fn beside<S, B, RB>(
    gateway: Arc<Gateway>,
    inner: S,
    parts: request::Parts,
    body: B,
) -> Result<Response<McpBody<RB>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    RB: Body<Data = Bytes> + Send + 'static,
{
    let limits = &gateway.settings.limits;
    let held = gateway.room.of(&caller::whose(&parts), limits);
    let reading = pin!(body::read(body, limits.body_bytes, held));
    let Ok(read) = within(limits.body_read, reading).await else {
        return Ok(tool_loop::refused(&too_slow(limits)));
    };
    // What is too large to be read goes on as it comes.
    let (may_ask, by_model) = sniffed(&gateway, &parts, &read);
    if may_ask && tool_loop::asks_for_tools(read.bytes()).await {
        return Ok(tool_loop::refused(&elsewhere(parts.uri.path())));
    }
    if let Some(alias) = by_model.alias {
        return Ok(tool_loop::refused(&no_alias_here(&alias, parts.uri.path())));
    }
    let request = Request::from_parts(parts, RequestBody::replayed(read));
    let response = inner.oneshot(request).await;
    response.map(|response| response.map(McpBody::through))
}

/// Answers what is asked of the list of models: of aliases the layer knows, of all else the upstream.
async fn models<S, B, RB>(
    gateway: Arc<Gateway>,
    inner: S,
    request: Request<B>,
    asked: Asked,
) -> Result<Response<McpBody<RB>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes>,
{
    let aliases = match asked {
        Asked::List(aliases) => aliases,
        Asked::One(alias) => {
            let (mut head, ()) = Response::new(()).into_parts();
            head.headers.insert(header::CONTENT_TYPE, tool_loop::JSON);
            let model = models_list::model(&alias).into();
            return Ok(tool_loop::rewritten(head, vec![model]));
        }
    };
    let (mut parts, body) = request.into_parts();
    let limits = &gateway.settings.limits;
    let held = gateway.room.of(&caller::whose(&parts), limits);
    models_list::ask_for_all(&mut parts.headers);
    let request = Request::from_parts(parts, RequestBody::through(body));
    let (head, body) = inner.oneshot(request).await?.into_parts();
    if models_list::has_none(head.status) {
        let (mut head, ()) = Response::new(()).into_parts();
        head.headers.insert(header::CONTENT_TYPE, tool_loop::JSON);
        let list = models_list::of_aliases(&aliases);
        return Ok(tool_loop::rewritten(head, vec![list]));
    }
    if !models_list::may_be_list(&head) {
        return Ok(Response::from_parts(head, McpBody::through(body)));
    }
    let read = body::read(body, limits.body_bytes, held).await;
    let list = read.is_complete().then(|| read.bytes());
    Ok(
        match list.and_then(|list| models_list::merged(&list, &aliases)) {
            Some(merged) => tool_loop::rewritten(head, merged),
            None => Response::from_parts(head, McpBody::replayed(read)),
        },
    )
}

fn elsewhere(path: &str) -> Refusal {
    let fault = format!(
        "is a member of chat completions (POST …/chat/completions) alone; send the request there, or to {} without it",
        short(path)
    );
    Refusal::invalid_option("mcp", &fault)
}

/// Tools are given to chat completions, and a request that hopes for them does not go on without.
fn no_alias_here(alias: &ModelAlias, path: &str) -> Refusal {
    let fault = format!(
        "{:?} is {:?} with tools, for chat completions (POST …/chat/completions) alone; send the request there, or to {} with the model {:?}",
        short(&alias.name),
        short(&alias.model),
        short(path),
        short(&alias.model),
    );
    Refusal::invalid_option("model", &fault)
}

fn too_slow(limits: &Limits) -> Refusal {
    let message = format!(
        "the request's body took longer than the {} s that one may take",
        limits.body_read.as_secs()
    );
    Refusal::new(refusal::Kind::RequestTimeout, message)
}

fn too_much(excess: Excess, limits: &Limits) -> Refusal {
    let (kind, message) = match excess {
        Excess::TooLarge => (
            refusal::Kind::RequestTooLarge,
            format!(
                "the request has more than the {} bytes that are read",
                limits.body_bytes
            ),
        ),
        Excess::NoRoom(Full::Share) => (
            refusal::Kind::Overloaded,
            format!(
                "your requests in flight have more than {} bytes together; send this one again when another has ended",
                limits.caller_body_bytes
            ),
        ),
        Excess::NoRoom(Full::All) => (
            refusal::Kind::Overloaded,
            "there is no room for more requests of this size at the moment; try again".to_owned(),
        ),
    };
    Refusal::new(kind, message)
}

/// Whether a body may opt in, and what its operator has decided for its model.
fn sniffed<B: Body<Data = Bytes>>(
    gateway: &Gateway,
    parts: &request::Parts,
    read: &Read<B>,
) -> (bool, ByModel) {
    // A body that broke off goes on as it is: its error is the inner service's matter.
    if !read.is_complete() {
        return (false, ByModel::default());
    }
    let may_ask = may_have_mcp(read.data());
    // Where that is not so, no letter from a to o is an escape.
    let by_model = ByModel::of(gateway, parts, || read.data(), !may_ask);
    (may_ask, by_model)
}

pin_project! {
    /// The future of [`McpService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, RB>
    where
        S: Service<Request<RequestBody<B>>>,
        B: Body,
        RB: Body,
    {
        #[pin]
        kind: Kind<S, B, RB>,
    }
}

type Answering<RB, E> = Pin<Box<dyn Future<Output = Result<Response<McpBody<RB>>, E>> + Send>>;

pin_project! {
    #[project = KindProjection]
    enum Kind<S, B, RB>
    where
        S: Service<Request<RequestBody<B>>>,
        B: Body,
        RB: Body,
    {
        /// The inner service's own future, for what is not ours: nothing is boxed.
        Through { #[pin] future: Oneshot<S, Request<RequestBody<B>>> },
        Ours { future: Answering<RB, S::Error> },
    }
}

impl<S, B, RB> Future for ResponseFuture<S, B, RB>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes>,
{
    type Output = Result<Response<McpBody<RB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Through { future } => {
                Poll::Ready(ready!(future.poll(cx)).map(|response| response.map(McpBody::through)))
            }
            KindProjection::Ours { future } => future.as_mut().poll(cx),
        }
    }
}

impl<S, B, RB> fmt::Debug for ResponseFuture<S, B, RB>
where
    S: Service<Request<RequestBody<B>>>,
    B: Body,
    RB: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for McpService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
