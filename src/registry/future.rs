//! The future that every method of a registry or store returns.

use std::pin::Pin;

/// A boxed future, which is what the methods of registries and stores return: so they can be used
/// behind `Arc<dyn …>`.
///
/// An implementor writes `Box::pin(async move { … })`. The box costs nothing beside a call of a
/// model or an answer of a database. It is the same type as `futures::future::BoxFuture`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
