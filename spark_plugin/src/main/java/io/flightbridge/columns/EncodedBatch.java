package io.flightbridge.columns;

import com.google.flatbuffers.FlatBufferBuilder;
import io.flightbridge.memory.DirectPool;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;
import org.apache.arrow.flatbuf.Buffer;
import org.apache.arrow.flatbuf.FieldNode;
import org.apache.arrow.flatbuf.Message;
import org.apache.arrow.flatbuf.MessageHeader;
import org.apache.arrow.flatbuf.MetadataVersion;
import org.apache.arrow.flatbuf.RecordBatch;

/**
 * A record batch as one Arrow IPC message: its metadata, and a body whose buffers begin at
 * multiples of 64 bytes, one behind the other. The memory is given back by {@link #release()}.
 */
public final class EncodedBatch {
  private static final int ALIGNMENT = 64;
  private static final ByteBuffer ZEROS = ByteBuffer.allocateDirect(ALIGNMENT);

  private final DirectPool pool;
  private final BatchParts batch;
  private final int rows;
  private final long bodyBytes;
  private final ByteBuffer metadata;
  private final int crc32c;

  EncodedBatch(DirectPool pool, BatchParts batch, int rows) {
    this.pool = pool;
    this.batch = batch;
    this.rows = rows;
    long bytes = 0;
    for (BatchParts.Part part : batch.parts) {
      bytes += padded(part.length());
    }
    this.bodyBytes = bytes;
    this.metadata = encodeMetadata();
    this.crc32c = checksum();
  }

  public int rows() {
    return rows;
  }

  public long bodyBytes() {
    return bodyBytes;
  }

  /** The flatbuffer of the message, without prefix or padding. */
  public ByteBuffer metadata() {
    return metadata.duplicate();
  }

  /** The batch checksum of docs/protocol.md. */
  public int crc32c() {
    return crc32c;
  }

  /** The body, padding included. */
  public List<ByteBuffer> body() {
    List<ByteBuffer> body = new ArrayList<>();
    for (BatchParts.Part part : batch.parts) {
      if (part.length() > 0) {
        body.add(part.memory().view(part.length()));
        int padding = padded(part.length()) - part.length();
        if (padding > 0) {
          body.add(ZEROS.slice(0, padding));
        }
      }
    }
    return body;
  }

  /** The buffers without padding; one without bytes is empty. */
  public List<ByteBuffer> buffers() {
    List<ByteBuffer> buffers = new ArrayList<>();
    for (BatchParts.Part part : batch.parts) {
      buffers.add(part.length() == 0 ? ZEROS.slice(0, 0) : part.memory().view(part.length()));
    }
    return buffers;
  }

  /** Lengths and null counts of the arrays, depth first. */
  public List<long[]> nodes() {
    List<long[]> nodes = new ArrayList<>();
    for (BatchParts.Node node : batch.nodes) {
      nodes.add(new long[] {node.length(), node.nulls()});
    }
    return nodes;
  }

  /** Nobody may use the batch after this. */
  public void release() {
    for (BatchParts.Part part : batch.parts) {
      if (part.memory() != null) {
        pool.give(part.memory());
      }
    }
  }

  private ByteBuffer encodeMetadata() {
    var out = new FlatBufferBuilder(128 + 16 * (batch.nodes.size() + batch.parts.size()));
    RecordBatch.startBuffersVector(out, batch.parts.size());
    long end = bodyBytes;
    for (int i = batch.parts.size() - 1; i >= 0; i--) { // flatbuffers grow downwards
      int length = batch.parts.get(i).length();
      end -= padded(length);
      Buffer.createBuffer(out, end, length);
    }
    int buffers = out.endVector();
    RecordBatch.startNodesVector(out, batch.nodes.size());
    for (int i = batch.nodes.size() - 1; i >= 0; i--) {
      FieldNode.createFieldNode(out, batch.nodes.get(i).length(), batch.nodes.get(i).nulls());
    }
    int nodes = out.endVector();
    RecordBatch.startRecordBatch(out);
    RecordBatch.addLength(out, rows);
    RecordBatch.addNodes(out, nodes);
    RecordBatch.addBuffers(out, buffers);
    int header = RecordBatch.endRecordBatch(out);
    Message.startMessage(out);
    Message.addBodyLength(out, bodyBytes);
    Message.addHeader(out, header);
    Message.addVersion(out, MetadataVersion.V5);
    Message.addHeaderType(out, MessageHeader.RecordBatch);
    Message.finishMessageBuffer(out, Message.endMessage(out));
    return out.dataBuffer().slice();
  }

  private int checksum() {
    var crc = new CRC32C();
    var numbers = ByteBuffer.allocate(8 + 16 * batch.nodes.size()).order(ByteOrder.LITTLE_ENDIAN);
    numbers.putLong(rows);
    for (BatchParts.Node node : batch.nodes) {
      numbers.putLong(node.length()).putLong(node.nulls());
    }
    crc.update(numbers.flip());
    var size = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    for (BatchParts.Part part : batch.parts) {
      crc.update(size.clear().putLong(part.length()).flip());
      if (part.length() > 0) {
        crc.update(part.memory().view(part.length()));
      }
    }
    return (int) crc.getValue();
  }

  private static int padded(int length) {
    return Math.addExact(length, ALIGNMENT - 1) & -ALIGNMENT;
  }
}
