/** What the page and its server agree on for WebSockets. */

/** The host process's frames, in binary messages whose bounds mean nothing. */
export const SOCKET_PROTOCOL = 'domus-frames.1';
/** Browsers let a page choose no header of a WebSocket but its protocols: one of them carries the token. */
export const SOCKET_TOKEN_PREFIX = 'domus-token.';
