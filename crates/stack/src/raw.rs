//! Raw and ping sockets of a host.

use core::net::SocketAddr;

use wireway_packet::Instant;

use crate::event::Ready;
use crate::net::{IcmpError, Inbound, Net};
use crate::socket::{DatagramInfo, Domain, Kind, ReceiveFlags, Shutdown, SocketId, SocketOption, SocketOptions};
use crate::{Error, Result};

/// Raw and ping sockets of a host.
pub(crate) struct Raw {}

#[allow(unused_variables)]
impl Raw {
    pub fn send_to(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        data: &[u8],
        peer: Option<SocketAddr>,
        source: Option<SocketAddr>,
    ) -> Result<usize> {
        todo!()
    }

    pub fn recv_from(
        &mut self,
        net: &mut Net,
        id: SocketId,
        buffer: &mut [u8],
        flags: ReceiveFlags,
    ) -> Result<DatagramInfo> {
        todo!()
    }

    pub fn send_unreachable(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        datagram: &DatagramInfo,
        head: &[u8],
        code: u8,
    ) -> Result<()> {
        todo!()
    }

    pub fn new(net: &mut Net) -> Raw {
        Raw {}
    }

    pub fn receive(&mut self, net: &mut Net, inbound: &Inbound) -> bool {
        todo!()
    }

    pub fn receive_echo_reply(&mut self, net: &mut Net, inbound: Inbound, copied: bool) {
        todo!()
    }

    pub fn icmp_error(&mut self, net: &mut Net, now: Instant, error: &IcmpError<'_>) {
        todo!()
    }

    /// The readiness of a socket that stood in the list of sockets to report, or `None` if it is gone.
    pub fn take_event(&mut self, id: SocketId) -> Option<Ready> {
        todo!()
    }

    pub fn socket(&mut self, net: &mut Net, domain: Domain, kind: Kind) -> Result<SocketId> {
        todo!()
    }

    pub fn bind(&mut self, net: &mut Net, id: SocketId, address: SocketAddr) -> Result<()> {
        todo!()
    }

    pub fn connect(&mut self, net: &mut Net, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        todo!()
    }

    pub fn disconnect(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn recv_available(&self, id: SocketId) -> usize {
        todo!()
    }

    pub fn shutdown(&mut self, net: &mut Net, now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        todo!()
    }

    pub fn close(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn ready(&self, id: SocketId) -> Ready {
        todo!()
    }

    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        todo!()
    }

    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr> {
        todo!()
    }

    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr> {
        todo!()
    }

    pub fn set_option(&mut self, net: &mut Net, now: Instant, id: SocketId, option: SocketOption) -> Result<()> {
        todo!()
    }

    pub fn options(&self, id: SocketId) -> Result<SocketOptions> {
        todo!()
    }
}
