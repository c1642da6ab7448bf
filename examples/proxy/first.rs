//! The first bytes of a connection: HTTP/2 has a preface, and anything else is HTTP/1.1.

use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

/// The beginning of the preface of HTTP/2 (RFC 9113 section 3.4), with which no method begins.
const PREFACE: &[u8; LENGTH] = b"PRI ";
const LENGTH: usize = 4;

/// The bytes that were read to learn the version; they are read again as part of the connection.
#[derive(Clone, Copy, Default)]
pub struct First {
    bytes: [u8; LENGTH],
    len: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl First {
    /// Reads until the version is known.
    ///
    /// One read is enough for all callers but those that send byte by byte.
    pub async fn read(stream: &mut TcpStream) -> io::Result<(Self, Version)> {
        let mut first = Self::default();
        loop {
            let read = stream.read(&mut first.bytes[first.len..]).await?;
            first.len += read;
            if first.len == LENGTH && first.bytes == *PREFACE {
                return Ok((first, Version::Http2));
            }
            if read == 0 || !PREFACE.starts_with(first.bytes()) {
                return Ok((first, Version::Http1));
            }
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
