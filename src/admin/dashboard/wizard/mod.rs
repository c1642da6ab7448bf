//! Creating a server in four steps, on a draft that the store keeps: nothing is lost by going
//! back, by a reload, or by the trip to a provider.

mod auth;
mod discard;
mod open;
mod review;
mod server;
mod step;
mod tools;

pub(super) use self::{
    auth::{auth, save_auth},
    discard::{ask_to_discard, discard},
    review::{finish, review},
    server::{begin, create, save_server, server},
    step::status,
    tools::{Problem, known_tools, save_tools, tools},
};
