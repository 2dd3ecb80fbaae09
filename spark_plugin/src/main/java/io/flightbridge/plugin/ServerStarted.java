package io.flightbridge.plugin;

import java.io.Serializable;

/**
 * What an executor tells the driver.
 *
 * @param executor its id
 * @param uri of its server
 */
record ServerStarted(String executor, String uri) implements Serializable {}
