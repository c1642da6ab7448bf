//! What the program does instead of serving: `--backup`, `--healthcheck`, and keys.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use mcp_layer::{
    registry::SqlRegistry,
    secret::{ExposeSecret, SecretString},
};

use crate::{
    config::{Flags, Invalid},
    routes,
};

/// The longest wait for the proxy's answer: those who ask wait no longer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Does what the flags ask for, if that is something else than to serve.
pub async fn run(flags: &Flags) -> Result<Option<ExitCode>, Invalid> {
    if let Some(next) = flags.change_keys()? {
        println!("{next}");
        return Ok(Some(ExitCode::SUCCESS));
    }
    if let Some(to) = &flags.backup {
        back_up(flags.database_url()?, to).await?;
        return Ok(Some(ExitCode::SUCCESS));
    }
    if flags.healthcheck {
        let address = reachable(flags.address()?);
        return Ok(Some(match healthy(address) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {address}: {error}");
                ExitCode::FAILURE
            }
        }));
    }
    Ok(None)
}

/// Handles `--backup`.
async fn back_up(url: Option<SecretString>, to: &Path) -> Result<(), Invalid> {
    let Some(url) = url else {
        let reason = "--backup needs a database, such as --database sqlite://proxy.db: without one nothing is stored";
        return Err(Invalid::new(reason));
    };
    let bytes = SqlRegistry::back_up(url.expose_secret(), to).await;
    let bytes = bytes.map_err(Invalid::new)?;
    println!(
        "{} has all that was stored when the backup began, {bytes} bytes. It can only be read with the keys of key_file: keep a copy of them elsewhere",
        to.display()
    );
    Ok(())
}

/// The address at which this machine reaches a listener.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Handles `--healthcheck`: asks the proxy that runs with this configuration whether it is alive.
fn healthy(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = routes::HEALTH;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    // The first line, of which the status is at a fixed place.
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    match head.ends_with(b" 200") {
        true => Ok(()),
        false => Err(io::Error::other("is not healthy")),
    }
}
