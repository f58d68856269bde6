import com.sun.net.httpserver.HttpServer;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** A client and three servers, each with another of the ways to a socket that Java has. */
public class Program {
    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "get": get(arguments); break;
            case "old-get": oldGet(arguments); break;
            case "interfaces": interfaces(); break;
            case "datagrams": datagrams(); break;
            case "threads": threads(Integer.parseInt(arguments[1])); break;
            case "selector": selector(Integer.parseInt(arguments[1])); break;
            case "http": http(Integer.parseInt(arguments[1])); break;
            default: throw new IllegalArgumentException(arguments[0]);
        }
    }

    /** java.net.http: non-blocking channels; four at once (more idle connections than that are more than some servers take). */
    static void get(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        for (int from = 1; from < arguments.length; from += 4) {
            List<CompletableFuture<byte[]>> bodies = new ArrayList<>();
            for (int i = from; i < Math.min(from + 4, arguments.length); i++) {
                HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[i])).build();
                bodies.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray()).thenApply(HttpResponse::body));
            }
            for (CompletableFuture<byte[]> body : bodies) {
                System.out.write(body.get());
            }
        }
        System.out.flush();
    }

    /** HttpURLConnection: blocking sockets, kept alive. */
    static void oldGet(String[] arguments) throws Exception {
        for (int i = 1; i < arguments.length; i++) {
            HttpURLConnection connection = (HttpURLConnection) new URL(arguments[i]).openConnection();
            connection.setConnectTimeout(10_000);
            connection.setReadTimeout(10_000);
            try (InputStream in = connection.getInputStream()) {
                in.transferTo(System.out);
            }
        }
        System.out.flush();
    }

    static void interfaces() throws Exception {
        for (NetworkInterface each : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            for (InetAddress address : Collections.list(each.getInetAddresses())) {
                System.out.println(each.getName() + " " + each.getMTU() + " " + each.isUp() + " " + address.getHostAddress());
            }
        }
    }

    static void datagrams() throws Exception {
        try (DatagramSocket a = new DatagramSocket(0); DatagramSocket b = new DatagramSocket()) {
            byte[] sent = new byte[30_000];
            java.util.Arrays.fill(sent, (byte) 7);
            b.send(new DatagramPacket(sent, sent.length, new InetSocketAddress("127.0.0.1", a.getLocalPort())));
            DatagramPacket got = new DatagramPacket(new byte[65_536], 65_536);
            a.setSoTimeout(10_000);
            a.receive(got);
            System.out.println(got.getLength() + " " + got.getAddress().getHostAddress() + " " + (got.getPort() == b.getLocalPort()));
            a.setSoTimeout(50);
            try {
                a.receive(got);
            } catch (java.net.SocketTimeoutException e) {
                System.out.println("timed out");
            }
        }
    }

    /** ServerSocket: a thread for each connection sends back what it got when it has got all. */
    static void threads(int port) throws Exception {
        try (ServerSocket listener = new ServerSocket(port, 64)) {
            System.out.println("ready");
            while (true) {
                Socket socket = listener.accept();
                new Thread(() -> {
                    try (socket) {
                        ByteArrayOutputStream all = new ByteArrayOutputStream();
                        socket.getInputStream().transferTo(all);
                        OutputStream out = socket.getOutputStream();
                        out.write(all.toByteArray());
                    } catch (Exception e) {
                        e.printStackTrace();
                    }
                }).start();
            }
        }
    }

    /** A selector: one thread echoes to all. */
    static void selector(int port) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(port), 64);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("ready");
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel channel = listener.accept();
                    if (channel != null) {
                        channel.configureBlocking(false);
                        channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocate(65_536));
                    }
                    continue;
                }
                SocketChannel channel = (SocketChannel) key.channel();
                ByteBuffer buffer = (ByteBuffer) key.attachment();
                boolean ended = key.isReadable() && channel.read(buffer) < 0;
                buffer.flip();
                channel.write(buffer);
                if (ended && !buffer.hasRemaining()) {
                    channel.close();
                    continue;
                }
                key.interestOps(buffer.hasRemaining() ? SelectionKey.OP_WRITE : SelectionKey.OP_READ);
                buffer.compact();
            }
            selector.selectedKeys().clear();
        }
    }

    /** The JDK's own HTTP server: answers the method, the path, the body's length, and the body. */
    static void http(int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 64);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            String head = exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + body.length + "\n";
            exchange.sendResponseHeaders(200, 0);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(head.getBytes());
                out.write(body);
            }
        });
        server.start();
        System.out.println("ready");
    }
}
