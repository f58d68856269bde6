//! TCP.

use core::net::SocketAddr;
use std::io::IoSlice;

use wireway_packet::Instant;

use crate::event::Ready;
use crate::net::{IcmpError, Inbound, Net};
use crate::socket::{
    Domain, ReceiveFlags, Refusal, SendFlags, Shutdown, SocketId, SocketOption, SocketOptions, TcpInfo,
};
use crate::{Error, Result};

/// TCP of a host.
pub(crate) struct Tcp {}

#[allow(unused_variables)]
impl Tcp {
    pub fn new(net: &mut Net) -> Tcp {
        Tcp {}
    }

    pub fn receive(&mut self, net: &mut Net, now: Instant, inbound: Inbound) {
        todo!()
    }

    pub fn icmp_error(&mut self, net: &mut Net, now: Instant, error: &IcmpError<'_>) {
        todo!()
    }

    pub fn on_timer(&mut self, net: &mut Net, now: Instant, index: u32, generation: u32) {
        todo!()
    }

    /// The readiness of a socket that stood in the list of sockets to report, or `None` if it is gone.
    pub fn take_event(&mut self, id: SocketId) -> Option<Ready> {
        todo!()
    }

    pub fn socket(&mut self, net: &mut Net, domain: Domain) -> Result<SocketId> {
        todo!()
    }

    pub fn bind(&mut self, net: &mut Net, id: SocketId, address: SocketAddr) -> Result<()> {
        todo!()
    }

    pub fn listen(&mut self, net: &mut Net, id: SocketId, backlog: u32) -> Result<()> {
        todo!()
    }

    pub fn connect(&mut self, net: &mut Net, now: Instant, id: SocketId, peer: SocketAddr) -> Result<()> {
        todo!()
    }

    pub fn disconnect(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn accept(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<(SocketId, SocketAddr)> {
        todo!()
    }

    pub fn unaccept(&mut self, net: &mut Net, listener: SocketId, connection: SocketId) -> Result<()> {
        todo!()
    }

    pub fn admit(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn refuse(&mut self, net: &mut Net, now: Instant, id: SocketId, refusal: Refusal) -> Result<()> {
        todo!()
    }

    pub fn send(&mut self, net: &mut Net, now: Instant, id: SocketId, data: &[u8], flags: SendFlags) -> Result<usize> {
        todo!()
    }

    pub fn send_with(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        want: usize,
        flags: SendFlags,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> Result<usize> {
        todo!()
    }

    pub fn send_space(&self, id: SocketId) -> usize {
        todo!()
    }

    pub fn recv(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        buffer: &mut [u8],
        flags: ReceiveFlags,
    ) -> Result<usize> {
        todo!()
    }

    pub fn recv_with(
        &mut self,
        net: &mut Net,
        now: Instant,
        id: SocketId,
        max: usize,
        take: &mut dyn FnMut(&[IoSlice<'_>]) -> usize,
    ) -> Result<usize> {
        todo!()
    }

    pub fn recv_available(&self, id: SocketId) -> usize {
        todo!()
    }

    pub fn send_outstanding(&self, id: SocketId) -> usize {
        todo!()
    }

    pub fn shutdown(&mut self, net: &mut Net, now: Instant, id: SocketId, how: Shutdown) -> Result<()> {
        todo!()
    }

    pub fn close(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn abort(&mut self, net: &mut Net, now: Instant, id: SocketId) -> Result<()> {
        todo!()
    }

    pub fn is_drained(&self, id: SocketId) -> bool {
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

    pub fn info(&self, now: Instant, id: SocketId) -> Result<TcpInfo> {
        todo!()
    }

    pub fn is_listening(&self, id: SocketId) -> bool {
        todo!()
    }
}
