//! The inner service behind one type, whatever its own type is.
//!
//! So the loop is written and compiled once. If it were generic over service, bodies and errors,
//! each of its functions would carry their bounds, and every program would compile it anew for each
//! service. The cost is one box per turn and one per answer, which is nothing beside a model call;
//! bodies still arrive frame by frame. Requests that are not for the loop never get here.

use std::{any::Any, error::Error as StdError, fmt, future::Future, marker::PhantomData, pin::Pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tower::{Service, ServiceExt};

use crate::body::{McpBody, RequestBody};

/// The body of an answer of the inner service.
pub(crate) type InnerBody = UnsyncBoxBody<Bytes, InnerError>;

type Answering = Pin<Box<dyn Future<Output = Result<Response<InnerBody>, InnerError>> + Send>>;

/// The inner service.
pub(crate) struct Inner {
    service: Box<dyn Ask>,
    describe: fn(InnerError) -> String,
}

/// Anything that answers.
trait Ask: Send {
    fn ask(&mut self, request: Request<Vec<Bytes>>) -> Answering;

    /// The same in another box.
    fn another(&self) -> Box<dyn Ask>;
}

/// A service whose requests have bodies of this kind.
struct Of<S, B>(S, PhantomData<fn(B)>);

impl<S, B, RB> Ask for Of<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body<Data = Bytes> + Send + 'static,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Send,
{
    fn ask(&mut self, request: Request<Vec<Bytes>>) -> Answering {
        // Made ready just before it is called, in a clone that is dropped when it has answered: no
        // permit of it is held while anything else is done.
        let mut service = self.0.clone();
        Box::pin(async move {
            let service = service.ready().await.map_err(InnerError::new)?;
            let answer = service.call(request.map(RequestBody::written)).await;
            let answer = answer.map_err(InnerError::new)?;
            Ok(answer.map(|body| body.map_err(InnerError::new).boxed_unsync()))
        })
    }

    fn another(&self) -> Box<dyn Ask> {
        Box::new(Self(self.0.clone(), PhantomData))
    }
}

/// An error of the inner service, or of the body of its answer: it goes through the loop as it is.
pub(crate) struct InnerError(Box<dyn Any + Send>);

impl Inner {
    pub(crate) fn new<S, B, RB>(service: S) -> Self
    where
        S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
        B: Body<Data = Bytes> + Send + 'static,
        RB: Body<Data = Bytes> + Send + 'static,
        RB::Error: Send,
    {
        Self {
            service: Box::new(Of::<S, B>(service, PhantomData)),
            describe: |error| chain(&*error.restore::<S::Error>().into()),
        }
    }

    /// Asks for an answer.
    ///
    /// # Cancellation
    /// The inner service's future is dropped.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Vec<Bytes>>,
    ) -> Result<Response<InnerBody>, InnerError> {
        self.service.ask(request).await
    }

    /// The same service, to be asked beside this one.
    pub(crate) fn another(&self) -> Self {
        Self {
            service: self.service.another(),
            describe: self.describe,
        }
    }

    /// The text of an error of [`ask`](Self::ask), with its causes.
    pub(crate) fn describe(&self, error: InnerError) -> String {
        (self.describe)(error)
    }
}

impl InnerError {
    fn new<E: Send + 'static>(error: E) -> Self {
        Self(Box::new(error))
    }

    /// The error as it was.
    pub(crate) fn restore<E: 'static>(self) -> E {
        match self.0.downcast() {
            Ok(error) => *error,
            // `Inner::new` and `restored` name the types of the same service.
            Err(_) => unreachable!("an error of another service"),
        }
    }
}

/// An answer of the loop, with the inner service's own type of body.
pub(crate) fn restored<RB>(answer: Response<McpBody<InnerBody>>) -> Response<McpBody<RB>>
where
    RB: Body<Data = Bytes> + 'static,
{
    answer.map(|body| McpBody::relayed(body.map_err(InnerError::restore)))
}

/// The text of an error, with its causes.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl fmt::Debug for InnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InnerError")
    }
}
