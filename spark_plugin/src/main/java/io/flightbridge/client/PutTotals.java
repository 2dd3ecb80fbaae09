package io.flightbridge.client;

import io.flightbridge.BridgeException;
import io.flightbridge.Code;
import io.flightbridge.columns.EncodedBatch;
import io.flightbridge.protocol.PutEnd;
import io.flightbridge.protocol.PutResult;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32C;

/** What an attempt has sent, and whether the server got the same. */
final class PutTotals {
  private final CRC32C chain = new CRC32C();
  private long batches;
  private long rows;

  void add(EncodedBatch batch) {
    batches++;
    rows += batch.rows();
    chain.update(
        ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(batch.crc32c()).flip());
  }

  long batches() {
    return batches;
  }

  PutEnd end() {
    return PutEnd.newBuilder()
        .setBatches(batches)
        .setRows(rows)
        .setCrc32C((int) chain.getValue())
        .build();
  }

  void check(PutResult result, String name) {
    PutEnd sent = end();
    if (result.getBatches() != sent.getBatches()
        || result.getRows() != sent.getRows()
        || result.getCrc32C() != sent.getCrc32C()) {
      throw new BridgeException(
          Code.DATA_LOSS,
          "finishing "
              + name
              + ": sent "
              + rows
              + " rows in "
              + batches
              + " batches but the server acknowledged "
              + result.getRows()
              + " rows in "
              + result.getBatches()
              + " batches, or another checksum: write it again");
    }
  }
}
