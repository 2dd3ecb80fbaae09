package io.flightbridge.client;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.protocol.BatchMark;
import io.flightbridge.protocol.PutCommand;
import io.flightbridge.protocol.PutMetadata;
import io.flightbridge.protocol.PutResult;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import org.apache.arrow.flight.impl.Flight;
import org.apache.arrow.flight.impl.FlightServiceGrpc;

/**
 * A put by Flight's DoPut: where the server has TLS, or offers no data channel. A lost connection
 * loses the attempt.
 */
final class FlightPutStream implements PutStream {
  // Enough for the next batch to be sent while the one before is on its way.
  private static final int READY_BYTES = 8 << 20;

  private final FlightConnection connection;
  private final String name;
  private final PutTotals totals = new PutTotals();
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private ClientCallStreamObserver<Flight.FlightData> call;
  private byte[] answer;
  private boolean completed;
  private Throwable failure;
  private long waitedNanos;

  private FlightPutStream(FlightConnection connection, String name) {
    this.connection = connection;
    this.name = name;
  }

  static FlightPutStream open(
      FlightConnection connection, PutCommand command, ByteString schema, String name) {
    var put = new FlightPutStream(connection, name);
    connection
        .authorized(FlightServiceGrpc.newStub(connection.channel()))
        .withOnReadyThreshold(READY_BYTES)
        .withWaitForReady() // a server that restarts is back in a moment
        .doPut(put.new Answers());
    put.send(
        Flight.FlightData.newBuilder()
            .setFlightDescriptor(
                Flight.FlightDescriptor.newBuilder()
                    .setType(Flight.FlightDescriptor.DescriptorType.CMD)
                    .setCmd(command.toByteString()))
            .setDataHeader(schema)
            .build());
    return put;
  }

  @Override
  public void write(EncodedBatch batch) {
    try {
      PutMetadata mark =
          PutMetadata.newBuilder()
              .setBatch(
                  BatchMark.newBuilder().setSequence(totals.batches()).setCrc32C(batch.crc32c()))
              .build();
      List<ByteString> body = new ArrayList<>();
      for (ByteBuffer part : batch.body()) {
        body.add(ByteString.copyFrom(part));
      }
      totals.add(batch);
      send(
          Flight.FlightData.newBuilder()
              .setDataHeader(ByteString.copyFrom(batch.metadata()))
              .setAppMetadata(mark.toByteString())
              .setDataBody(ByteString.copyFrom(body))
              .build());
    } finally {
      batch.release();
    }
  }

  @Override
  public PutResult finish() {
    send(
        Flight.FlightData.newBuilder()
            .setAppMetadata(PutMetadata.newBuilder().setEnd(totals.end()).build().toByteString())
            .build());
    call.onCompleted();
    await(() -> completed);
    if (answer == null) {
      throw new BridgeException(
          Code.DATA_LOSS, "finishing " + name + ": the server ended the put without a result");
    }
    try {
      PutResult result = PutResult.parseFrom(answer);
      totals.check(result, name);
      return result;
    } catch (InvalidProtocolBufferException error) {
      throw new BridgeException(
          Code.INTERNAL,
          "finishing " + name + ": the server's answer cannot be read: is it of another version?",
          error);
    }
  }

  @Override
  public long waitedNanos() {
    return waitedNanos;
  }

  @Override
  public void close() {
    lock.lock();
    try {
      if (completed || failure != null) {
        return;
      }
    } finally {
      lock.unlock();
    }
    call.cancel("the writer gave the put up", null);
  }

  private void send(Flight.FlightData message) {
    await(call::isReady);
    call.onNext(message);
  }

  // Each wait ends with the condition, an error of the call, or the timeout.
  private void await(BooleanSupplier condition) {
    long begin = System.nanoTime();
    long left = connection.options().timeout().toNanos();
    lock.lock();
    try {
      while (failure == null && !condition.getAsBoolean()) {
        if (left <= 0) {
          throw new BridgeException(
              Code.DEADLINE_EXCEEDED,
              "putting "
                  + name
                  + ": the server at "
                  + connection.endpoint().uri()
                  + " took nothing for "
                  + connection.options().timeout().toMillis() / 1000.0
                  + " s: is it stopped, or out of room? Raise the timeout, or look at the server");
        }
        left = changed.awaitNanos(left);
      }
      if (failure != null) {
        throw connection.translated(failure).during("putting " + name);
      }
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new BridgeException(
          Code.CANCELLED, "putting " + name + ": the task was interrupted", error);
    } finally {
      lock.unlock();
      waitedNanos += System.nanoTime() - begin;
    }
  }

  /** What comes back, on gRPC's threads. */
  private final class Answers
      implements ClientResponseObserver<Flight.FlightData, Flight.PutResult> {
    @Override
    public void beforeStart(ClientCallStreamObserver<Flight.FlightData> request) {
      call = request;
      request.setOnReadyHandler(() -> note(() -> {}));
    }

    @Override
    public void onNext(Flight.PutResult result) {
      note(() -> answer = result.getAppMetadata().toByteArray());
    }

    @Override
    public void onError(Throwable error) {
      note(() -> failure = error);
    }

    @Override
    public void onCompleted() {
      note(() -> completed = true);
    }

    private void note(Runnable change) {
      lock.lock();
      try {
        change.run();
        changed.signalAll();
      } finally {
        lock.unlock();
      }
    }
  }
}
