package io.flightbridge.client;

import com.google.protobuf.ByteString;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NegotiationType;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.nio.channels.Channels;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import javax.net.ssl.SSLException;
import org.apache.arrow.flight.impl.Flight;
import org.apache.arrow.flight.impl.FlightServiceGrpc;
import org.apache.arrow.vector.ipc.ReadChannel;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.arrow.vector.types.pojo.Schema;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Flight's own calls to one server. Every one carries the token and has a deadline. Thread-safe.
 */
final class FlightConnection implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(FlightConnection.class);
  private static final String ACTIONS = "flightbridge.v1.";
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  private static final long CLOSING_SECONDS = 5;

  private final Endpoint endpoint;
  private final ConnectionOptions options;
  private final ManagedChannel channel;
  private final IdleChannels idleChannels = new IdleChannels();

  FlightConnection(Endpoint endpoint, ConnectionOptions options) {
    this.endpoint = endpoint;
    this.options = options;
    this.channel = connect();
  }

  Endpoint endpoint() {
    return endpoint;
  }

  ConnectionOptions options() {
    return options;
  }

  ManagedChannel channel() {
    return channel;
  }

  IdleChannels idleChannels() {
    return idleChannels;
  }

  /** Runs an action; its one answer, or no bytes. */
  byte[] act(String action, byte[] body, String doing) {
    Flight.Action call =
        Flight.Action.newBuilder()
            .setType(ACTIONS + action)
            .setBody(ByteString.copyFrom(body))
            .build();
    try {
      var stub =
          authorized(FlightServiceGrpc.newBlockingStub(channel))
              .withDeadlineAfter(options.timeout().toMillis(), TimeUnit.MILLISECONDS);
      Iterator<Flight.Result> answers = stub.doAction(call);
      byte[] answer = answers.hasNext() ? answers.next().getBody().toByteArray() : new byte[0];
      while (answers.hasNext()) { // the call ends with its stream
        answers.next();
      }
      return answer;
    } catch (StatusRuntimeException error) {
      channel.resetConnectBackoff(); // whoever repeats it waits by itself, and not for minutes
      throw translated(error).during(doing);
    }
  }

  /** As {@link #act}, again and again while no server answers, for as long as the timeout. */
  byte[] actUntilAnswered(String action, byte[] body, String doing) {
    return untilAnswered(() -> act(action, body, doing));
  }

  /**
   * Repeats a call while no server answers: it may be about to come back. A certificate that does
   * not fit will not fit then, either.
   */
  <T> T untilAnswered(Supplier<T> call) {
    long deadline = System.nanoTime() + options.timeout().toNanos();
    Pauses pauses = new Pauses();
    while (true) {
      try {
        return call.get();
      } catch (BridgeException error) {
        if (!error.isUnreachable() || TlsRefusal.isWhy(error) || System.nanoTime() >= deadline) {
          throw error;
        }
        if (pauses.atFirst()) {
          LOG.warn(
              "FlightBridge: trying again for up to {} s: {}",
              options.timeout().toMillis() / 1000.0,
              error.getMessage());
        }
      }
      pauses.pause();
    }
  }

  Schema schemaOf(String feed) {
    Flight.FlightDescriptor descriptor =
        Flight.FlightDescriptor.newBuilder()
            .setType(Flight.FlightDescriptor.DescriptorType.PATH)
            .addPath(feed)
            .build();
    String doing = "describing feed '" + feed + "'";
    try {
      byte[] encoded =
          authorized(FlightServiceGrpc.newBlockingStub(channel))
              .withDeadlineAfter(options.timeout().toMillis(), TimeUnit.MILLISECONDS)
              .getSchema(descriptor)
              .getSchema()
              .toByteArray();
      return MessageSerializer.deserializeSchema(
          new ReadChannel(Channels.newChannel(new ByteArrayInputStream(encoded))));
    } catch (StatusRuntimeException error) {
      channel.resetConnectBackoff();
      throw translated(error).during(doing);
    } catch (IOException error) {
      throw new BridgeException(Code.INTERNAL, doing + ": " + error.getMessage(), error);
    }
  }

  /** The metadata of every flight that the server lists to this caller. */
  List<ByteString> listFlights() {
    try {
      List<ByteString> found = new ArrayList<>();
      authorized(FlightServiceGrpc.newBlockingStub(channel))
          .withDeadlineAfter(options.timeout().toMillis(), TimeUnit.MILLISECONDS)
          .listFlights(Flight.Criteria.getDefaultInstance())
          .forEachRemaining(flight -> found.add(flight.getAppMetadata()));
      return found;
    } catch (StatusRuntimeException error) {
      channel.resetConnectBackoff();
      throw translated(error).during("listing the feeds of " + endpoint.uri());
    }
  }

  <T extends AbstractStub<T>> T authorized(T stub) {
    Metadata headers = new Metadata();
    if (options.token() != null) {
      headers.put(AUTHORIZATION, "Bearer " + options.token());
    }
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
  }

  BridgeException translated(Throwable error) {
    Status status = Status.fromThrowable(error);
    String text = status.getDescription();
    Code code =
        switch (status.getCode()) {
          case UNAVAILABLE -> Code.UNAVAILABLE;
          // What gRPC makes of a connection that ends before the call is on its way.
          case UNKNOWN ->
              status.getCause() instanceof IOException ? Code.UNAVAILABLE : Code.INTERNAL;
          case DEADLINE_EXCEEDED -> Code.DEADLINE_EXCEEDED;
          case CANCELLED -> Code.CANCELLED;
          case UNAUTHENTICATED -> Code.UNAUTHENTICATED;
          case PERMISSION_DENIED -> Code.PERMISSION_DENIED;
          case INVALID_ARGUMENT -> Code.INVALID_ARGUMENT;
          case NOT_FOUND -> Code.NOT_FOUND;
          case ALREADY_EXISTS -> Code.ALREADY_EXISTS;
          case RESOURCE_EXHAUSTED -> Code.RESOURCE_EXHAUSTED;
          default -> Code.INTERNAL;
        };
    if (code == Code.DEADLINE_EXCEEDED) {
      return new BridgeException(
          code,
          "the server at "
              + endpoint.uri()
              + " did not answer within "
              + options.timeout().toMillis() / 1000.0
              + " s: raise the timeout, or look at the server",
          error);
    }
    if (code == Code.UNAVAILABLE && !BridgeException.isCoded(text)) {
      Throwable cause = status.getCause() == null ? error : status.getCause();
      return new BridgeException(
          code,
          "no server answers at "
              + endpoint.uri()
              + " ("
              + cause.getMessage()
              + "): start one with 'flightbridge serve', or correct the uri"
              + (endpoint.tls() ? " or the option tls_ca" : ""),
          error);
    }
    return BridgeException.of(text, code, error);
  }

  @Override
  public void close() {
    idleChannels.close();
    channel.shutdownNow();
    try {
      channel.awaitTermination(CLOSING_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
    }
  }

  private ManagedChannel connect() {
    NettyChannelBuilder builder =
        NettyChannelBuilder.forAddress(endpoint.host(), endpoint.port())
            .maxInboundMessageSize(Integer.MAX_VALUE)
            .keepAliveTime(30, TimeUnit.SECONDS)
            .keepAliveTimeout(options.timeout().toMillis(), TimeUnit.MILLISECONDS);
    if (!endpoint.tls()) {
      return builder.usePlaintext().build();
    }
    try {
      var tls = GrpcSslContexts.forClient();
      if (options.tlsCa() != null) {
        tls.trustManager(pem("tls_ca", options.tlsCa()));
      }
      if (options.tlsClientCert() != null && options.tlsClientKey() != null) {
        tls.keyManager(
            pem("tls_client_cert", options.tlsClientCert()),
            pem("tls_client_key", options.tlsClientKey()));
      }
      return builder.negotiationType(NegotiationType.TLS).sslContext(tls.build()).build();
    } catch (SSLException | IllegalArgumentException error) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "the TLS files cannot be used ("
              + error.getMessage()
              + "): tls_ca and tls_client_cert are PEM certificates, tls_client_key a PEM PKCS#8 key",
          error);
    }
  }

  private static File pem(String name, String path) {
    File file = new File(path);
    if (!file.canRead()) {
      throw new BridgeException(
          Code.INVALID_ARGUMENT,
          "option "
              + name
              + "='"
              + path
              + "' cannot be read: give a PEM file that driver and executors find under that path");
    }
    return file;
  }
}
