# Commands of ip, ifconfig, route and arp with what they say and how they end, on an eth0 that has 10.0.0.1/24 and fd00::1/64. What may differ between a kernel's
# namespace and the host is left out: numbers, users, link-local addresses, the order of IPv6's addresses.
t() {
    echo "\$ $*"
    said=$("$@" 2>&1)
    status=$?
    [ -z "$said" ] || echo "$said" | grep -v 'fe80::[^2]' | sed 's/^[0-9]*: //; s/@[a-z0-9]*:/:/; s/ uid [0-9]*//; s/ *$//'
    [ $status = 0 ] || echo "= $status"
}
addresses() {
    echo "addresses of $1"
    ip -o addr show dev "$1" | grep -v fe80:: | sed 's/^[0-9]*: //; s/ tentative//; s/ *$//; s/\([0-9]\)99[0-9]sec/\1000sec/g; s/999sec/1000sec/g; s/499sec/500sec/g' | sort
}

t ip link show eth0
addresses eth0
addresses lo
t ip route
t ip -6 route

# Links
t ip link set eth0 mtu 1400
t ip link show eth0
t ip link set eth0 mtu 67
t ip link set eth0 mtu 99999
t ip link set eth0 mtu 1500
t ip link set lo mtu 1500
t ip link show lo
t ip link set lo mtu 65536
t ip link set nosuch up
t ip link set eth0 txqueuelen 500
t ip link set eth0 address 02:00:00:00:00:99
t ip link show eth0
t ip link set eth0 address 01:00:00:00:00:99
t ip link set eth0 address 02:00:00:00:00:01
t ip link del lo
t ip link add name v42 type nosuchkind
t ip link add link nosuch name v42 type vlan id 42
t ip link del v42
t ip link show v42

# Addresses
t ip addr add 10.0.0.7/24 brd + dev eth0
t ip addr add 10.0.0.7/24 brd + dev eth0
t ip addr add 10.0.0.8/24 dev nosuch
t ip addr add 10.1.0.1/16 brd + dev eth0
t ip addr add 10.3.0.1 dev eth0
t ip addr add 10.4.0.1/24 brd + dev eth0 noprefixroute
t ip addr add 10.5.0.1/24 brd + dev eth0 valid_lft 1000 preferred_lft 500
t ip addr add 127.5.0.1/8 dev lo
t ip addr add fd00::7/64 dev eth0 nodad
t ip addr add fd00::7/64 dev eth0 nodad
t ip addr add fd01::8/64 dev eth0 nodad noprefixroute
t ip addr add fd02::8/64 dev eth0 nodad noprefixroute valid_lft 1000 preferred_lft 0
t ip addr add fd03::8/128 dev lo
t ip addr add ff02::8/64 dev eth0
t ip addr add ::1/64 dev eth0
addresses eth0
addresses lo
t ip route
t ip addr del 10.0.0.7/24 dev eth0
t ip addr del 10.0.0.7/24 dev eth0
t ip addr del 10.1.0.1/24 dev eth0
t ip addr del fd00::7/64 dev eth0
t ip addr del fd00::7/64 dev eth0
t ip addr change 10.5.0.1/24 brd + dev eth0 valid_lft 2000 preferred_lft 1000
t ip addr change fd02::8/64 dev eth0 nodad noprefixroute valid_lft 2000 preferred_lft 1000
addresses eth0
t ip addr flush dev eth0 to 10.5.0.0/16
t ip addr del fd01::8/64 dev eth0
t ip addr del fd02::8/64 dev eth0
t ip addr del fd03::8/128 dev lo
addresses eth0

# Routes
t ip route add 192.168.0.0/16 via 10.0.0.2
t ip route add 192.168.0.0/16 via 10.0.0.2
t ip route append 192.168.0.0/16 via 10.0.0.3
t ip route replace 192.168.0.0/16 via 10.0.0.4
t ip route change 192.168.0.0/16 via 10.0.0.5
t ip route change 192.169.0.0/16 via 10.0.0.5
t ip route add 192.168.0.0/16 via 10.0.0.6 metric 100
t ip route add 192.170.0.0/16 dev eth0 src 10.1.0.1
t ip route add 192.171.0.0/16 dev eth0 src 10.99.0.1
t ip route add 192.172.0.1 via 99.0.0.1
t ip route add 192.172.0.2 via 99.0.0.1 onlink
t ip route add 192.172.0.3 via 10.0.0.2 mtu 1300
t ip route add 192.172.0.5 dev nosuch
t ip route add 192.172.0.6 via 10.0.0.1
t ip route add 192.172.0.1/16 dev eth0
t ip route add 192.178.0.0/16 dev eth0 scope link proto static
t ip route add default via 10.0.0.254
t ip route add default via 10.0.0.254
t ip route
t ip route del 192.168.0.0/16 via 10.0.0.9
t ip route del 192.168.0.0/16
t ip route del 192.168.0.0/16
t ip route del 192.168.0.0/16
t ip route del 192.168.0.0/16
t ip -6 route add fd10::/64 via fd00::2
t ip -6 route add fd10::/64 via fd00::2
t ip -6 route replace fd10::/64 via fd00::4
t ip -6 route add fd10::/64 via fd00::5 metric 100
t ip -6 route add fd11::/64 via fe80::2
t ip -6 route add fd11::/64 via fe80::2 dev eth0
t ip -6 route add fd12::/64 dev eth0
t ip -6 route add fd13::/64 via fd99::1
t ip -6 route add fd15::/64 via fd00::2 src fd99::8
t ip -6 route add fd17::/64 via fd00::2 mtu 1300
t ip -6 route add default via fe80::2 dev eth0
t ip -6 route
t ip -6 route del fd10::/64 via fd00::9
t ip -6 route del fd10::/64
t ip -6 route del fd10::/64
t ip -6 route del fd10::/64
t ip -6 route

# Where a packet would go
t ip route get 10.0.0.9
t ip route get 10.0.0.1
t ip route get 8.8.8.8
t ip route get 127.0.0.5
t ip route get 255.255.255.255
t ip route get 10.1.255.255
t ip route get 192.172.0.3
t ip route get 8.8.8.8 from 10.1.0.1
t ip route get 8.8.8.8 from 10.99.0.1
t ip route get 8.8.8.8 oif eth0
t ip route get fibmatch 8.8.8.8
t ip -6 route get fd00::9
t ip -6 route get 2001:db8::1
t ip -6 route get ::1

# Neighbours
t ip neigh add 10.0.0.50 lladdr 02:00:00:00:00:50 dev eth0
t ip neigh add 10.0.0.50 lladdr 02:00:00:00:00:50 dev eth0
t ip neigh replace 10.0.0.50 lladdr 02:00:00:00:00:51 dev eth0
t ip neigh change 10.0.0.51 lladdr 02:00:00:00:00:51 dev eth0
t ip neigh add fd00::50 lladdr 02:00:00:00:00:50 dev eth0
t ip neigh add 10.0.0.53 lladdr 02:00:00:00:00:53 dev nosuch
t ip neigh add 10.0.0.54 dev eth0
t ip neigh show to 10.0.0.50
t ip -6 neigh show to fd00::50
t ip neigh get 10.0.0.50 dev eth0
t ip neigh get 10.0.0.99 dev eth0
t ip neigh del 10.0.0.50 dev eth0
t ip neigh del 10.0.0.50 dev eth0
t ip neigh flush dev eth0 nud permanent
t ip neigh show nud permanent

# The older tools
t ifconfig eth0 mtu 1480
t ifconfig eth0 txqueuelen 400
t ip link show eth0
t ifconfig eth0 mtu 20
t ifconfig nosuch up
t ifconfig eth0 10.0.0.33 netmask 255.255.255.128
t ifconfig eth0 add fd05::1/64
addresses eth0
t ifconfig eth0 del fd05::1/64
t ifconfig eth0 del fd05::1/64
t ifconfig eth0 netmask 255.0.255.0
t ifconfig eth0 172.16.0.1
addresses eth0
t route add -net 192.168.0.0 netmask 255.255.0.0 gw 172.16.0.2
t route add -net 192.168.0.0 netmask 255.255.0.0 gw 172.16.0.2
t route add -host 192.169.0.1 dev eth0
t route add -net 192.170.0.0 netmask 255.255.0.0 gw 10.99.0.1
t route add -net 192.171.0.1 netmask 255.255.0.0 dev eth0
t route add -net 192.171.0.0 netmask 255.255.0.0 metric 5 dev eth0
t route -A inet6 add fd20::/64 dev eth0
t ip route
t ip -6 route
t route del -net 192.168.0.0 netmask 255.255.0.0
t route del -net 192.168.0.0 netmask 255.255.0.0
t route -A inet6 del fd20::/64 dev eth0
t arp -s 172.16.0.60 02:00:00:00:00:60 -i eth0
t ip neigh show to 172.16.0.60
t arp -i eth0 -d 172.16.0.61
t arp -i eth0 -d 172.16.0.60

# Down and up
t ip link set eth0 down
t ip link show eth0
addresses eth0
t ip route
t ip -6 route
t ip route add 8.0.0.0/8 dev eth0
t ip -6 route add fd80::/64 dev eth0
t ip route get 172.16.0.9
t ifconfig eth0 up
t ip link show eth0
addresses eth0
t ip route
t ip link set lo down
addresses lo
t ip link set lo up
addresses lo
