/* lines read: many readers of one growing file, which must all see the same bytes.
 *
 * What was read first of each byte is kept as the truth; every later read of it, by whatever call and size, must
 * give the same. At the end the truth itself is judged line by line.
 *
 * Places are logical positions: a file that was opened after a trim begins at its user.topicfs.base. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "check.h"
#include "main.h"
#include "stream.h"

enum { READERS_MAX = 64, TAIL_BYTES = 1 << 16 };
#define TRUTH_BYTES ((size_t)8 << 30)

static struct {
    const char *path;
    char *bytes; /* address space; touched as far as `known` */
    _Atomic size_t known;
    pthread_mutex_t lock; /* of growing */
    atomic_bool finished; /* the writers are done */
} truth = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct reader {
    pthread_t thread;
    char how; /* r: read on; p: pread anywhere; o: open, seek, read, close; s: stat */
    size_t size;
    size_t base; /* where the open file begins */
    uint64_t random, reads;
};

static void differ(const struct reader *reader, const char *what, size_t at, size_t length)
{
    fprintf(stderr, "reader %c:%zu: byte %zu, %zu bytes, of a file that begins at %zu: %s\n", reader->how, reader->size,
            at, length, reader->base, what);
    exit(1);
}

/* Compares what was read at `at` with the truth and adds to it. */
static void compare(const struct reader *reader, const char *data, size_t length, size_t at)
{
    size_t known = truth.known;
    size_t old = at >= known ? 0 : known - at < length ? known - at : length;
    if (memcmp(truth.bytes + at, data, old) != 0)
        differ(reader, "changed since it was first read", at, length);
    if (old == length)
        return;
    pthread_mutex_lock(&truth.lock);
    known = truth.known;
    if (at > known || at + length > TRUTH_BYTES)
        differ(reader, "past what this program can keep", at, length);
    old = known - at < length ? known - at : length;
    if (memcmp(truth.bytes + at, data, old) != 0)
        differ(reader, "changed since it was first read", at, length);
    memcpy(truth.bytes + at + old, data + old, length - old);
    if (at + length > known)
        truth.known = at + length;
    pthread_mutex_unlock(&truth.lock);
}

/* A place to read from: half of the time in the last few lines, else anywhere. */
static size_t choose(struct reader *reader)
{
    size_t known = truth.known;
    if (known < reader->base)
        return reader->base;
    size_t most = known - reader->base;
    size_t back = stream_random(&reader->random) % 2 == 0 && most > TAIL_BYTES ? TAIL_BYTES : most;
    return known - (back == 0 ? 0 : stream_random(&reader->random) % (back + 1));
}

/* A read shorter than was asked for ends where the log did: never inside a line. */
static void judge_end(const struct reader *reader, const char *data, ssize_t got, size_t at)
{
    if (got > 0 && (size_t)got < reader->size && data[got - 1] != '\n')
        differ(reader, "a short read ends in the middle of a line", at, (size_t)got);
}

static int open_log(struct reader *reader)
{
    char base[32] = "";
    int fd = open(truth.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fgetxattr(fd, "user.topicfs.base", base, sizeof base - 1) < 0)
        differ(reader, strerrorname_np(errno), 0, 0);
    reader->base = strtoul(base, NULL, 10);
    return fd;
}

static ssize_t read_once(struct reader *reader, int *fd, char *buffer, size_t *at)
{
    ssize_t got;
    if (reader->how == 'r') {
        /* Who reads a byte at a time cannot keep up: it goes on nearer to the end. */
        size_t most = reader->size * 2048;
        if (reader->size < 4096 && truth.known > *at + most) {
            *at = truth.known - most / 2;
            lseek(*fd, (off_t)(*at - reader->base), SEEK_SET);
        }
        got = read(*fd, buffer, reader->size);
    } else if (reader->how == 'p') {
        *at = choose(reader);
        got = pread(*fd, buffer, reader->size, (off_t)(*at - reader->base));
    } else {
        close(*fd);
        *fd = open_log(reader);
        *at = choose(reader);
        lseek(*fd, (off_t)(*at - reader->base), SEEK_SET);
        got = read(*fd, buffer, reader->size);
    }
    if (got < 0)
        differ(reader, strerrorname_np(errno), *at, reader->size);
    return got;
}

static void follow_size(struct reader *reader, int fd)
{
    off_t before = 0;
    char byte;
    for (bool last = false; !last;) {
        last = truth.finished;
        struct stat now;
        if ((reader->size == 0 ? fstat(fd, &now) : stat(truth.path, &now)) != 0)
            differ(reader, "stat", 0, 0);
        if (now.st_size < before)
            differ(reader, "the size shrank", (size_t)before, (size_t)now.st_size);
        if (now.st_size > 0 && (pread(fd, &byte, 1, now.st_size - 1) != 1 || byte != '\n'))
            differ(reader, "the size ends in the middle of a line", (size_t)now.st_size, 1);
        before = now.st_size;
        reader->reads++;
    }
}

static void *run_reader(void *arg)
{
    struct reader *reader = arg;
    int fd = open_log(reader);
    if (reader->how == 's') {
        follow_size(reader, fd);
        close(fd);
        return NULL;
    }
    char *buffer = malloc(reader->size);
    if (buffer == NULL)
        err(111, "memory");
    size_t at = reader->base;
    for (;;) {
        bool finished = truth.finished;
        ssize_t got = read_once(reader, &fd, buffer, &at);
        judge_end(reader, buffer, got, at);
        if (at <= truth.known) /* else a generation that begins past what anybody has read yet */
            compare(reader, buffer, (size_t)got, at);
        at += (size_t)got;
        reader->reads++;
        bool jumps = reader->how != 'r';
        if (finished && (jumps || (got == 0 && at >= truth.known)))
            break;
        if (got > 0 || at < truth.known)
            continue;
        /* At the end: what comes next is worth waiting a moment for, or these readers starve the writers. */
        poll(NULL, 0, 1);
    }
    free(buffer);
    close(fd);
    return NULL;
}

static unsigned parse_readers(struct reader *readers, unsigned count, const char *word)
{
    char *end;
    if (count == READERS_MAX || strchr("rpos", word[0]) == NULL || word[1] != ':')
        errx(2, "%s: not a reader", word);
    readers[count] = (struct reader){.how = word[0], .size = strtoul(word + 2, &end, 10), .random = count};
    return count + 1;
}

int read_main(int argc, char **argv)
{
    static struct reader readers[READERS_MAX];
    unsigned count = 0;
    const char *acks = NULL;
    for (int option; (option = getopt(argc, argv, "a:t:")) != -1;) {
        if (option == 'a')
            acks = optarg;
        else if (option == 't')
            count = parse_readers(readers, count, optarg);
        else
            return usage();
    }
    if (optind + 1 != argc)
        return usage();
    truth.path = argv[optind];
    truth.bytes = mmap(NULL, TRUTH_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (truth.bytes == MAP_FAILED)
        err(111, "memory");
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]) != 0)
            errx(111, "no thread");
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    truth.finished = true;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(readers[i].thread, NULL);
        printf("%c:%zu %llu\n", readers[i].how, readers[i].size, (unsigned long long)readers[i].reads);
        if (readers[i].reads == 0)
            errx(1, "reader %c:%zu read nothing", readers[i].how, readers[i].size);
    }
    printf("bytes %zu\n", (size_t)truth.known);
    return check_log(truth.bytes, truth.known, ack_map(acks, false)) ? 0 : 1;
}
