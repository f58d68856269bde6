//! What programs are told of the host's interfaces.

mod common;
use common::python;

#[test]
fn ioctl_and_netlink_tell_of_the_hosts_interfaces_only() {
    python(
        r#"
import fcntl
assert if_nameindex() == [(1, 'lo')], if_nameindex()
assert if_nametoindex('lo') == 1 and if_indextoname(1) == 'lo'
u = socket(AF_INET, SOCK_DGRAM)
def ask(request): return fcntl.ioctl(u, request, struct.pack('16s24x', b'lo'))[16:]
assert inet_ntoa(ask(0x8915)[4:8]) == '127.0.0.1' and inet_ntoa(ask(0x891b)[4:8]) == '255.0.0.0'
assert struct.unpack('i', ask(0x8921)[:4])[0] == 65536 and struct.unpack('h', ask(0x8913)[:2])[0] & 9 == 9
for flags in (0x48, 0x49):
    fcntl.ioctl(u, 0x8914, struct.pack('16sh22x', b'lo', flags)); assert struct.unpack('h', ask(0x8913)[:2])[0] & 1 == flags & 1
fails(errno.ENODEV, fcntl.ioctl, u, 0x8915, struct.pack('16s24x', b'nope'))
unix = socket(AF_UNIX, SOCK_DGRAM); assert struct.unpack('16si20x', fcntl.ioctl(unix, 0x8933, struct.pack('16s24x', b'lo')))[1] == 1
n = socket(AF_NETLINK, SOCK_RAW, 0); n.bind((0, 0)); assert n.getsockname()[0] > 0
n.send(struct.pack('IHHIIB3x', 20, 22, 0x301, 5, 0, 0))
data, sender = n.recvfrom(65536); assert sender == (0, 0) and b'lo\0' in data and inet_aton('127.0.0.1') in data
done = n.recv(65536); assert struct.unpack('IHHII', done[:16])[1] == 3, done
fails(errno.EPROTONOSUPPORT, socket, AF_NETLINK, SOCK_RAW, 12)
# getaddrinfo looks at the addresses to order its answers.
assert getaddrinfo('localhost', 80, AF_INET, SOCK_STREAM)[0][4] == ('127.0.0.1', 80)
"#,
    );
}
