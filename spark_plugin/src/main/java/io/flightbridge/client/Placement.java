package io.flightbridge.client;

import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Which of several servers holds what: rendezvous hashing (Thaler and Ravishankar, "Using
 * name-based mappings to increase hit rates", 1998), the same in every client and server; see
 * "Several servers" in docs/protocol.md and native/src/feed/placement.h.
 */
final class Placement {
  private Placement() {}

  /** Index of the server that holds a write job's partition. */
  static int serverOf(List<String> servers, String feed, long partition) {
    int best = 0;
    long bestScore = 0;
    for (int i = 0; i < servers.size(); i++) {
      long score = score(servers.get(i), feed, partition);
      int order = Long.compareUnsigned(score, bestScore);
      boolean better = order > 0 || (order == 0 && servers.get(i).compareTo(servers.get(best)) < 0);
      if (i == 0 || better) {
        best = i;
        bestScore = score;
      }
    }
    return best;
  }

  /** Index of the server that decides the feed's commits. */
  static int homeOf(List<String> servers, String feed) {
    return serverOf(servers, feed, -1L);
  }

  // FNV-1a over the parts, each text with its length, and then MurmurHash3's finaliser.
  private static long score(String server, String feed, long key) {
    long state = add(0xcbf29ce484222325L, server);
    state = add(add(state, feed), key);
    state = (state ^ (state >>> 33)) * 0xff51afd7ed558ccdL;
    state = (state ^ (state >>> 33)) * 0xc4ceb9fe1a85ec53L;
    return state ^ (state >>> 33);
  }

  private static long add(long state, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    long sum = add(state, bytes.length);
    for (byte b : bytes) {
      sum = (sum ^ (b & 0xff)) * 0x100000001b3L;
    }
    return sum;
  }

  private static long add(long state, long value) {
    long sum = state;
    for (int i = 0; i < 8; i++) {
      sum = (sum ^ (value >>> (8 * i) & 0xff)) * 0x100000001b3L;
    }
    return sum;
  }
}
