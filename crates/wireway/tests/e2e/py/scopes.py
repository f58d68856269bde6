"""Calls about scopes (RFC 4007), about both families on one socket, and about control messages, with what they give: the same over the kernel's stack and over
ours. eth0 has fd00::1 and a link-local address."""
import ctypes, errno, os, socket, struct
S=socket
def t(name,f):
    try: r=f()
    except OSError as e: r=errno.errorcode.get(e.errno,e.errno)
    print(name, r)
idx=S.if_nametoindex('eth0')
ll=[l.split()[3].split('/')[0] for l in os.popen('ip -6 -o addr show dev eth0 scope link')][0]
def own():
    a=S.socket(S.AF_INET6,S.SOCK_DGRAM); a.bind(('::',0)); a.settimeout(2)
    b=S.socket(S.AF_INET6,S.SOCK_DGRAM)
    b.sendto(b'x',(ll,a.getsockname()[1],0,idx))
    d,addr=a.recvfrom(10)
    return addr[3]==idx, addr[0]==ll
t('own source scope',own)
def ownname():
    b=S.socket(S.AF_INET6,S.SOCK_DGRAM); b.connect((ll,9,0,idx)); return b.getsockname()[3]==idx, b.getpeername()[3]==idx
t('own names',ownname)
def tcpown():
    l=S.socket(S.AF_INET6); l.bind((ll,0,0,idx)); l.listen()
    c=S.socket(S.AF_INET6); c.settimeout(2); c.connect((ll,l.getsockname()[1],0,idx))
    a,addr=l.accept()
    return [x[3]==idx for x in (addr,a.getsockname(),a.getpeername(),c.getsockname(),c.getpeername(),l.getsockname())]
t('tcp own',tcpown)
for kind in (S.SOCK_DGRAM,S.SOCK_STREAM):
    def f(to):
        def g():
            s=S.socket(S.AF_INET6,kind); s.settimeout(2); s.bind(('::ffff:127.0.0.1',0)); s.connect(to); return s.getsockname()[0]
        return g
    t('mapped then v6 %d'%kind, f(('fd00::1',9)))
    t('mapped then ::1 %d'%kind, f(('::1',9)))
    t('mapped then ll %d'%kind, f((ll,9,0,idx)))
    def f6():
        s=S.socket(S.AF_INET6,kind); s.settimeout(2); s.bind(('fd00::1',0)); s.connect(('::ffff:127.0.0.1',9)); return s.getsockname()[0]
    t('v6 then mapped %d'%kind, f6)
def mappedsend():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.bind(('::ffff:127.0.0.1',0)); return s.sendto(b'x',('fd00::1',9))
t('mapped sendto v6',mappedsend)
def v6send():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.bind(('fd00::1',0)); return s.sendto(b'x',('::ffff:127.0.0.1',9))
t('v6 sendto mapped',v6send)
libc=ctypes.CDLL(None,use_errno=True)
def disc(s):
    r=libc.connect(s.fileno(),struct.pack('=H26x',0),28)
    if r: raise OSError(ctypes.get_errno(),'x')
def dev(s): return s.getsockopt(S.SOL_SOCKET,25,16)
def udpdisc():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.connect((ll,9,0,idx)); a=dev(s); disc(s); b=dev(s)
    s.connect(('::1',9)); return a,b
t('udp disconnect',udpdisc)
def udpdisc2():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.setsockopt(S.SOL_SOCKET,25,b'eth0\0'); s.connect(('fd00::2',9)); a=dev(s); disc(s); b=dev(s)
    return a,b
t('udp bound disconnect',udpdisc2)
for kind,proto in ((S.SOCK_RAW,58),):
    def raw():
        s=S.socket(S.AF_INET6,kind,proto); s.connect(('fe80::9',0,0,idx)); return dev(s)
    t('scoped connect %d'%kind,raw)
    def raw1():
        s=S.socket(S.AF_INET6,kind,proto); s.connect(('fe80::9',0,0,idx)); s.connect(('fd00::1',0)); return dev(s)
    t('scoped connect then other %d'%kind,raw1)
    def raw2():
        s=S.socket(S.AF_INET6,kind,proto); return s.sendto(b'\x80\0\0\0\0\0\0\0',('fe80::9',0))
    t('no scope send %d'%kind,raw2)
    def raw3():
        s=S.socket(S.AF_INET6,kind,proto); s.connect(('fe80::9',0,0,0)); 
    t('no scope connect %d'%kind,raw3)
    def raw4():
        s=S.socket(S.AF_INET6,kind,proto); s.bind((ll,0,0,0)); 
    t('no scope bind %d'%kind,raw4)
    def raw5():
        s=S.socket(S.AF_INET6,kind,proto); s.bind((ll,0,0,idx)); return dev(s)
    t('scope bind %d'%kind,raw5)
def ns():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); return s.sendto(b'x',('fe80::9',9))
t('udp send no scope',ns)
def ns2():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.setsockopt(41,17,idx); return s.sendto(b'x',('fe80::9',9))
t('udp send no scope, multicast if',ns2)
def ns2b():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.setsockopt(S.SOL_SOCKET,25,b'eth0\0'); return s.sendto(b'x',('fe80::9',9))
t('udp send no scope, bound',ns2b)
def ns3():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.connect(('fe80::9',9)); return 0
t('udp connect no scope',ns3)
def ns4():
    s=S.socket(S.AF_INET6,S.SOCK_STREAM); s.settimeout(1); s.connect(('fe80::9',9)); return 0
t('tcp connect no scope',ns4)
def ns5():
    s=S.socket(S.AF_INET6,S.SOCK_DGRAM); return s.sendto(b'x',('ff02::9',9))
t('udp send ff02 no scope',ns5)
def both(o4,o6):
    def f():
        s=S.socket(S.AF_INET6,S.SOCK_DGRAM); s.bind(('::',0)); s.settimeout(2)
        for l,n in o4: s.setsockopt(l,n,1)
        for l,n in o6: s.setsockopt(l,n,1)
        c=S.socket(S.AF_INET,S.SOCK_DGRAM); c.sendto(b'x',('127.0.0.1',s.getsockname()[1]))
        d,anc,fl,a=s.recvmsg(10,1000)
        c=S.socket(S.AF_INET6,S.SOCK_DGRAM); c.sendto(b'x',('::1',s.getsockname()[1]))
        d,anc6,fl,a=s.recvmsg(10,1000)
        return [(l,k,v.hex()) for l,k,v in anc],[(l,k,v.hex()) for l,k,v in anc6]
    return f
O4=[(0,8),(0,12),(0,13)]; O6=[(41,49),(41,51),(41,66)]
t('cmsg v4 only',both(O4,[])); t('cmsg v6 only',both([],O6)); t('cmsg both',both(O4,O6))
def gets(kind):
    def f():
        s=S.socket(S.AF_INET6,kind); s.setsockopt(0,8,1); a=s.getsockopt(0,8),s.getsockopt(41,49); s.setsockopt(41,49,1);s.setsockopt(0,8,0); return a,s.getsockopt(0,8),s.getsockopt(41,49)
    return f
t('getsockopt apart',gets(S.SOCK_DGRAM))
def re():
    s=S.socket(); a=s.getsockopt(0,11); s.setsockopt(0,11,1); return a,s.getsockopt(0,11)
t('tcp recverr',re)
def re6():
    s=S.socket(S.AF_INET6); s.setsockopt(41,25,1); s.setsockopt(0,11,1); return s.getsockopt(41,25),s.getsockopt(0,11)
t('tcp recverr6',re6)
for n in (8,12,13,6,7,10):
    def g(n=n):
        s=S.socket(); s.setsockopt(0,n,1); return s.getsockopt(0,n)
    t('tcp ip opt %d'%n,g)
for n in (49,51,66,8):
    def g(n=n):
        s=S.socket(S.AF_INET6); s.setsockopt(41,n,1); return s.getsockopt(41,n)
    t('tcp ip6 opt %d'%n,g)
