package io.flightbridge.spark;

import org.apache.spark.sql.connector.read.InputPartition;

/**
 * What one task reads.
 *
 * @param uri of the server that has it
 * @param ticket encoded
 * @param rows that it stands for
 */
record FeedInputPartition(String uri, byte[] ticket, long rows) implements InputPartition {}
