/* The hot loop of the benchmark's client: it answers each answer with the next request, on many
 * WebSockets, faster than a server can. The connections are opened, and their sessions begun, in
 * Python (bench/drive.py), which calls `drive` without the interpreter's lock. */

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, LAST = 256, EVENTS = 256, BINARY = 0x82, CLOSE = 0x88 };

/* Frames that follow one another in memory; frame k is from ends[k - 1] to ends[k]. */
struct frames {
    const unsigned char *bytes;
    const uint32_t *ends;
    uint32_t count;
};

struct peer {
    unsigned char head[10];       /* of the frame that is being received */
    uint32_t head_size;           /* how much of it has come */
    uint64_t left;                /* bytes of its payload that have not come */
    uint32_t sent, answered, acknowledged;
    unsigned char last[LAST];     /* the beginning of the last message */
    uint32_t last_size;
};

static int send_all(int fd, const unsigned char *bytes, size_t size) {
    while (size) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd writable = {fd, POLLOUT, 0};
            poll(&writable, 1, 1000);
        } else if (sent < 0) {
            return -errno;
        } else {
            bytes += sent;
            size -= (size_t)sent;
        }
    }
    return 0;
}

static int send_frames(int fd, const struct frames *frames, uint32_t from, uint32_t to) {
    uint32_t begin = from ? frames->ends[from - 1] : 0;
    return to > from ? send_all(fd, frames->bytes + begin, frames->ends[to - 1] - begin) : 0;
}

/* Return the size of a frame's head, as far as its bytes say. */
static uint32_t head_needed(const struct peer *peer) {
    if (peer->head_size < 2)
        return 2;
    return peer->head[1] == 127 ? 10 : peer->head[1] == 126 ? 4 : 2;
}

static uint64_t payload_size(const struct peer *peer) {
    uint32_t needed = head_needed(peer);
    if (needed == 2)
        return peer->head[1];
    uint64_t size = 0;
    for (uint32_t i = 2; i < needed; i++)
        size = size << 8 | peer->head[i];
    return size;
}

/* Take received bytes. Returns how many messages they complete, or -1 for a close frame. */
static int take(struct peer *peer, const unsigned char *data, size_t size) {
    int count = 0;
    while (size || (!peer->left && peer->head_size == head_needed(peer))) {
        if (!peer->left && peer->head_size < head_needed(peer)) {
            peer->head[peer->head_size++] = *data++;
            size--;
            if (peer->head_size < head_needed(peer))
                continue;
            if (peer->head[0] == CLOSE)
                return -1;
            peer->left = payload_size(peer);
            if (peer->head[0] == BINARY)
                peer->last_size = 0;
        }
        size_t part = peer->left < size ? (size_t)peer->left : size;
        if (peer->head[0] == BINARY && peer->last_size < LAST) {
            size_t kept = LAST - peer->last_size < part ? LAST - peer->last_size : part;
            memcpy(peer->last + peer->last_size, data, kept);
            peer->last_size += (uint32_t)kept;
        }
        data += part;
        size -= part;
        peer->left -= part;
        if (!peer->left) {
            count += peer->head[0] == BINARY;
            peer->head_size = 0;
        }
    }
    return count;
}

/* Read what has come on one socket, acknowledge it, and send as many requests as were answered. */
static int serve(int fd, struct peer *peer, const struct frames *requests,
                 const struct frames *acks, uint32_t ack_every) {
    static unsigned char data[BUFFER];
    ssize_t got = recv(fd, data, BUFFER, 0);
    if (got < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (got == 0)
        return -ECONNRESET;
    int count = take(peer, data, (size_t)got);
    if (count < 0)
        return -EPROTO;
    peer->answered += (uint32_t)count;
    int failed = 0;
    if (ack_every && peer->answered / ack_every > peer->acknowledged) {
        uint32_t reached = peer->answered / ack_every;
        if (reached <= acks->count)
            failed = send_frames(fd, acks, reached - 1, reached);
        peer->acknowledged = reached;
    }
    uint32_t next = peer->sent + (uint32_t)count;
    if (next > requests->count)
        next = requests->count;
    if (!failed)
        failed = send_frames(fd, requests, peer->sent, next);
    peer->sent = next;
    return failed ? failed : count;
}

/* Send each socket's requests, `in_flight` at a time, until all are answered. acks: sent after each
 * `ack_every` answers; 0: never. lasts, sizes: the last message of each socket, at most 256 bytes.
 * Returns 0, or a negative error number. */
int drive(const int *fds, uint32_t sockets, uint32_t in_flight, const unsigned char *bytes,
          const uint32_t *ends, uint32_t count, const unsigned char *ack_bytes,
          const uint32_t *ack_ends, uint32_t ack_count, uint32_t ack_every, unsigned char *lasts,
          uint32_t *sizes) {
    const struct frames requests = {bytes, ends, count}, acks = {ack_bytes, ack_ends, ack_count};
    struct peer *peers = calloc(sockets, sizeof *peers);
    int poller = epoll_create1(0), failed = 0;
    uint64_t open = (uint64_t)sockets * count;
    if (!peers || poller < 0)
        failed = -ENOMEM;
    for (uint32_t i = 0; i < sockets && !failed; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fds[i], &event) < 0)
            failed = -errno;
    }
    for (uint32_t i = 0; i < sockets && !failed; i++) {
        peers[i].sent = in_flight < count ? in_flight : count;
        failed = send_frames(fds[i], &requests, 0, peers[i].sent);
    }
    struct epoll_event events[EVENTS];
    while (open && !failed) {
        int ready = epoll_wait(poller, events, EVENTS, 10000);
        if (ready == 0)
            failed = -ETIMEDOUT;
        for (int e = 0; e < ready && !failed; e++) {
            uint32_t i = events[e].data.u32;
            int answered = serve(fds[i], &peers[i], &requests, &acks, ack_every);
            if (answered < 0)
                failed = answered;
            else
                open -= (uint64_t)answered;
        }
    }
    for (uint32_t i = 0; i < sockets && !failed; i++) {
        memcpy(lasts + LAST * (size_t)i, peers[i].last, peers[i].last_size);
        sizes[i] = peers[i].last_size;
    }
    if (poller >= 0)
        close(poller);
    free(peers);
    return failed;
}
