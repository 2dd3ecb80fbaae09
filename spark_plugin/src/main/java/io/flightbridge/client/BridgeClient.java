package io.flightbridge.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.protocol.AbortWrite;
import io.flightbridge.protocol.AttemptRef;
import io.flightbridge.protocol.BeginWrite;
import io.flightbridge.protocol.BeginWriteResult;
import io.flightbridge.protocol.ChannelOffer;
import io.flightbridge.protocol.CommitWrite;
import io.flightbridge.protocol.CommitWriteResult;
import io.flightbridge.protocol.DescribeFeed;
import io.flightbridge.protocol.DropFeed;
import io.flightbridge.protocol.FeedInfo;
import io.flightbridge.protocol.FeedStatistics;
import io.flightbridge.protocol.FeedStatisticsResult;
import io.flightbridge.protocol.GetTicket;
import io.flightbridge.protocol.PutCommand;
import io.flightbridge.protocol.WriterEpoch;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.arrow.vector.types.pojo.Schema;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A client of the bridge: one server, or the several that a feed spans. The protocol is
 * docs/protocol.md. Actions are thread-safe.
 */
public final class BridgeClient implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(BridgeClient.class);

  private final ConnectionOptions options;
  private final List<String> servers;
  private final List<FlightConnection> connections = new ArrayList<>();

  /** Connects when first used. */
  public BridgeClient(String uris, ConnectionOptions options) {
    this.options = options;
    List<Endpoint> endpoints = Endpoint.parseList(uris);
    this.servers = endpoints.stream().map(Endpoint::uri).toList();
    for (Endpoint endpoint : endpoints) {
      connections.add(new FlightConnection(endpoint, options));
    }
  }

  /**
   * Opens a write job, the home first: the others ask it about the job. Idempotent by job id, and
   * repeated while a server is away: Spark may have worked for hours on what is to be written.
   */
  public BeginWriteResult beginWrite(BeginWrite asked) {
    String doing = "beginning a write of feed '" + asked.getFeed() + "'";
    if (servers.size() == 1) {
      return begin(0, asked, doing);
    }
    int home = Placement.homeOf(servers, asked.getFeed());
    BeginWrite.Builder spanning = asked.toBuilder().addAllServers(servers).setHome(home);
    BeginWriteResult result = begin(home, spanning.setSelf(home).build(), doing);
    if (result.getSkip() || result.getAlreadyCommitted()) {
      return result;
    }
    for (int i = 0; i < servers.size(); i++) {
      if (i == home) {
        continue;
      }
      try {
        begin(i, spanning.setSelf(i).build(), doing);
      } catch (BridgeException error) {
        abortQuietly(asked.getFeed(), asked.getJobId());
        throw error;
      }
    }
    return result;
  }

  /**
   * Opens one attempt at a partition, at the server where the partition belongs.
   *
   * @param schema an encapsulated Arrow IPC schema message
   * @param batchBytes of about how many bytes its record batches will be
   */
  public PutStream openPut(PutCommand command, byte[] schema, long batchBytes) {
    int server = Placement.serverOf(servers, command.getFeed(), command.getPartition());
    FlightConnection connection = connections.get(server);
    String name =
        "partition "
            + command.getPartition()
            + " of feed '"
            + command.getFeed()
            + "' (attempt "
            + command.getAttempt()
            + ")";
    PutStream idle = ChannelPutStream.openIdle(connection, command, schema, batchBytes, name);
    if (idle != null) {
      return idle;
    }
    ChannelOffer offer = channelOf(connection);
    if (offer != null) {
      try {
        return ChannelPutStream.open(connection, offer, command, schema, batchBytes, name);
      } catch (BridgeException error) {
        withoutChannel(error);
      }
    }
    return FlightPutStream.open(connection, command, messageOf(schema), name);
  }

  /**
   * Makes exactly these attempts visible. The home's answer is the decision, so it is asked again
   * while it is away: had it decided before, a job that fails would be written a second time.
   *
   * @param epoch as in the job's begin, or null
   */
  public FeedInfo commitWrite(
      String feed, String jobId, List<AttemptRef> attempts, WriterEpoch epoch) {
    CommitWrite.Builder asked =
        CommitWrite.newBuilder().setFeed(feed).setJobId(jobId).addAllAttempts(attempts);
    if (epoch != null) {
      asked.setEpoch(epoch);
    }
    CommitWrite commit = asked.build();
    String doing = "committing feed '" + feed + "'";
    int home = Placement.homeOf(servers, feed);
    byte[] answer;
    try {
      answer = connections.get(home).actUntilAnswered("CommitWrite", commit.toByteArray(), doing);
    } catch (BridgeException error) {
      throw error.isUnreachable() ? undecided(error, feed) : error;
    }
    CommitWrite ask = CommitWrite.newBuilder().setFeed(feed).setJobId(jobId).build();
    for (int i = 0; i < servers.size(); i++) {
      if (i != home) {
        try { // a server that cannot be told asks the home by itself
          connections.get(i).act("CommitWrite", ask.toByteArray(), doing);
        } catch (BridgeException error) {
          LOG.info(
              "FlightBridge: {} will ask for the decision: {}", servers.get(i), error.getMessage());
        }
      }
    }
    try {
      return CommitWriteResult.parseFrom(answer).getFeed();
    } catch (InvalidProtocolBufferException error) {
      throw unreadable(error);
    }
  }

  /** Drops what a job has sent, at every server. May be repeated. */
  public void abortWrite(String feed, String jobId) {
    byte[] abort = AbortWrite.newBuilder().setFeed(feed).setJobId(jobId).build().toByteArray();
    String doing = "aborting a write of feed '" + feed + "'";
    int home = Placement.homeOf(servers, feed);
    connections.get(home).act("AbortWrite", abort, doing);
    for (int i = 0; i < servers.size(); i++) {
      if (i != home) {
        try {
          connections.get(i).act("AbortWrite", abort, doing);
        } catch (BridgeException error) {
          LOG.info(
              "FlightBridge: {} will ask for the decision: {}", servers.get(i), error.getMessage());
        }
      }
    }
  }

  /** The feed as it is now. Waits for a server that is away, as the begin of a write does. */
  public FeedInfo describeFeed(String feed) {
    byte[] body = DescribeFeed.newBuilder().setFeed(feed).build().toByteArray();
    try {
      return FeedInfo.parseFrom(
          connections
              .get(Placement.homeOf(servers, feed))
              .actUntilAnswered("DescribeFeed", body, "describing feed '" + feed + "'"));
    } catch (InvalidProtocolBufferException error) {
      throw unreadable(error);
    }
  }

  /** The columns of a feed. Waits for a server that is away. */
  public Schema schemaOf(String feed) {
    FlightConnection home = connections.get(Placement.homeOf(servers, feed));
    return home.untilAnswered(() -> home.schemaOf(feed));
  }

  /**
   * The feeds that are committed, and that the token may read. Of several servers those that span
   * all of them: others are not found under this list of servers. Waits for servers that are away.
   */
  public List<FeedInfo> listFeeds() {
    List<FeedInfo> found = new ArrayList<>();
    try {
      for (FlightConnection connection : connections) {
        for (ByteString encoded : connection.untilAnswered(connection::listFlights)) {
          FeedInfo feed = FeedInfo.parseFrom(encoded);
          if (servers.size() == 1 || feed.getServersList().equals(servers)) {
            found.add(feed);
          }
        }
      }
    } catch (InvalidProtocolBufferException error) {
      throw unreadable(error);
    }
    return found;
  }

  /**
   * Drops a feed, at its home first: the others ask it.
   *
   * @throws BridgeException {@code NOT_FOUND}: there is none
   */
  public void dropFeed(String feed) {
    DropFeed.Builder drop = DropFeed.newBuilder().setFeed(feed);
    String doing = "dropping feed '" + feed + "'";
    int home = Placement.homeOf(servers, feed);
    connections.get(home).act("DropFeed", drop.build().toByteArray(), doing);
    byte[] rest = drop.setIfExists(true).build().toByteArray();
    for (int i = 0; i < servers.size(); i++) {
      if (i != home) {
        try {
          connections.get(i).act("DropFeed", rest, doing);
        } catch (BridgeException error) {
          LOG.warn(
              "FlightBridge: feed '{}' is dropped, but a server keeps its part of it until it is"
                  + " dropped again with if_exists: {}",
              feed,
              error.getMessage());
        }
      }
    }
  }

  /** What the columns of the partitions at the one server of this client lie between. */
  public FeedStatisticsResult statistics(FeedStatistics asked) {
    String doing = "asking for statistics of feed '" + asked.getFeed() + "'";
    try {
      return FeedStatisticsResult.parseFrom(
          connections.get(0).act("FeedStatistics", asked.toByteArray(), doing));
    } catch (InvalidProtocolBufferException error) {
      throw unreadable(error);
    }
  }

  /**
   * Rows of a feed, also across a loss of the connection. The ticket is for the one server of this
   * client, and its ranges say where they end.
   */
  public GetStream openGet(GetTicket ticket) {
    return new ResumedGetStream(connections.get(0), ticket, this::openOnce);
  }

  private GetStream openOnce(GetTicket ticket) {
    String doing = GetStream.doing(ticket);
    try {
      return new IpcGetStream(doing, messagesOf(ticket));
    } catch (BridgeException error) {
      throw error.during(doing);
    }
  }

  private IpcMessages messagesOf(GetTicket ticket) {
    FlightConnection connection = connections.get(0);
    IpcMessages idle = ChannelMessages.openIdle(connection, ticket);
    if (idle != null) {
      return idle;
    }
    ChannelOffer offer = channelOf(connection);
    if (offer != null) {
      try {
        return ChannelMessages.open(connection, offer, ticket);
      } catch (BridgeException error) {
        withoutChannel(error);
      }
    }
    return new FlightMessages(connection, ticket);
  }

  /** The server's data channel; null where it offers none or is not to be asked. */
  private ChannelOffer channelOf(FlightConnection connection) {
    boolean only = !Set.of("auto", "flight").contains(options.transport());
    ChannelOffer offer = null;
    if (!options.transport().equals("flight") && !connection.endpoint().tls()) {
      // A task that comes while the server restarts would use up Spark's tries in no time.
      offer = connection.untilAnswered(() -> DataChannel.offer(connection));
    }
    if (offer == null && only) {
      throw new BridgeException(
          Code.UNAVAILABLE,
          "option transport='"
              + options.transport()
              + "' is not possible with "
              + connection.endpoint().uri()
              + ": the server offers no data channel"
              + (connection.endpoint().tls() ? " where it has TLS" : "")
              + "; use transport=auto");
    }
    return offer;
  }

  /** The data port may be behind a firewall that the Flight port is not behind. */
  private void withoutChannel(BridgeException error) {
    if (!options.transport().equals("auto") || !error.isUnreachable()) {
      throw error;
    }
    LOG.warn(
        "FlightBridge: no data channel, so Flight's calls are used, which are slower: {}",
        error.getMessage());
  }

  @Override
  public void close() {
    connections.forEach(FlightConnection::close);
  }

  private BeginWriteResult begin(int server, BeginWrite begin, String doing) {
    try {
      return BeginWriteResult.parseFrom(
          connections.get(server).actUntilAnswered("BeginWrite", begin.toByteArray(), doing));
    } catch (InvalidProtocolBufferException error) {
      throw unreadable(error);
    }
  }

  private void abortQuietly(String feed, String jobId) {
    try {
      abortWrite(feed, jobId);
    } catch (BridgeException error) {
      LOG.info("FlightBridge: the job expires by itself: {}", error.getMessage());
    }
  }

  // Flight's messages have the flatbuffer alone, without the prefix (a marker and a length).
  private static ByteString messageOf(byte[] encapsulated) {
    int length = ByteBuffer.wrap(encapsulated).order(ByteOrder.LITTLE_ENDIAN).getInt(4);
    return ByteString.copyFrom(encapsulated, 8, length);
  }

  private static BridgeException undecided(BridgeException error, String feed) {
    return new BridgeException(
        error.code(),
        error.text()
            + ". It may have committed before that: look at feed '"
            + feed
            + "' before you write it again",
        error);
  }

  private static BridgeException unreadable(InvalidProtocolBufferException error) {
    return new BridgeException(
        Code.INTERNAL,
        "the server's answer cannot be read: is it of another version of FlightBridge?",
        error);
  }
}
