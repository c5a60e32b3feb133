/* bench-history: makes a store whose one partition, history/0, has a long past: sealed segments of numbered lines,
 * written as the log writes them, without any of it ever having been raw. A line is its number in 12 digits and a
 * constant text, so the whole is sparse: some per cent of its length on disk.
 *
 * The store is left as a copied one is (no checkpoint, an id file that is not the original): its first start believes
 * the segments as far as their ends verify. Prints one JSON object: bytes, segments, lines, file_bytes, ns. */
#include "tests/bench/bench.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/bytes.h"
#include "log/error.h"
#include "log/sealed.h"

enum { DIGITS = 12, PATH_BYTES = 4096 };
#define YEAR_NS (365 * 86400 * INT64_C(1000000000))

struct plan {
    const char *store;
    uint8_t topic_id[16];
    uint64_t bytes, segment_bytes, entry_bytes, line_bytes;
    int level;
    int64_t first_ns;

    pthread_mutex_t lock;          /* guards what follows */
    struct tlog_index_header next; /* the first segment that nobody has taken */
    uint64_t segments, file_bytes;
};

/* ---- the lines ---- */

/* One entry's lines at a time, in memory. */
struct lines {
    const struct plan *plan;
    uint8_t *data;
    struct tlog_entry entry;
    uint64_t chain;
};

static void lines_init(struct lines *lines, const struct plan *plan)
{
    static const char text[] = " orders accepted and shipped, nothing returned; the usual place, the usual price;";
    const size_t period = sizeof text - 1;
    *lines = (struct lines){.plan = plan, .data = malloc(plan->entry_bytes)};
    if (!lines->data)
        bench_fail("memory");
    for (uint64_t i = 0; i < plan->entry_bytes; i++) {
        uint64_t column = i % plan->line_bytes;
        lines->data[i] = column == plan->line_bytes - 1 ? '\n' : (uint8_t)text[(column + period - DIGITS) % period];
    }
}

static void number_put(uint8_t to[DIGITS], uint64_t number)
{
    for (int i = DIGITS; i-- > 0; number /= 10)
        to[i] = (uint8_t)('0' + number % 10);
}

static void number_next(uint8_t digits[DIGITS])
{
    int i = DIGITS - 1;
    while (i > 0 && digits[i] == '9')
        digits[i--] = '0';
    digits[i]++;
}

/* The entry that begins at `pos`, in a segment that ends at `end`. */
static void lines_make(struct lines *lines, uint64_t pos, uint64_t end)
{
    const struct plan *plan = lines->plan;
    uint64_t length = end - pos < plan->entry_bytes ? end - pos : plan->entry_bytes, first = pos / plan->line_bytes;
    uint8_t digits[DIGITS];
    number_put(digits, first);
    for (uint64_t at = 0; at < length; at += plan->line_bytes) {
        memcpy(lines->data + at, digits, DIGITS);
        number_next(digits);
    }
    lines->entry = (struct tlog_entry){
        .pos = pos,
        .seq = first,
        .time_ns = plan->first_ns + (int64_t)((double)YEAR_NS * ((double)pos / (double)plan->bytes)),
        .length_bytes = (uint32_t)length,
        .records = (uint32_t)(length / plan->line_bytes),
    };
    lines->entry.chain = tlog_entry_chain(&lines->entry, tlog_hash(lines->data, length, lines->chain));
    lines->chain = lines->entry.chain;
}

/* ---- the segments ---- */

static uint64_t segment_end(const struct plan *plan, uint64_t pos)
{
    return plan->bytes - pos < plan->segment_bytes ? plan->bytes : pos + plan->segment_bytes;
}

/* Takes the next segment, and walks through it for what the one after it stands on. False when there is none. */
static bool take(struct plan *plan, struct lines *lines, struct tlog_index_header *header)
{
    pthread_mutex_lock(&plan->lock);
    *header = plan->next;
    bool more = header->pos < plan->bytes;
    if (more) {
        uint64_t end = segment_end(plan, header->pos);
        lines->chain = header->chain;
        for (uint64_t pos = header->pos; pos < end; pos += lines->entry.length_bytes)
            lines_make(lines, pos, end);
        plan->next.pos = end;
        plan->next.seq = end / plan->line_bytes;
        plan->next.chain = lines->chain;
        plan->next.time_ns = lines->entry.time_ns;
        plan->segments++;
    }
    pthread_mutex_unlock(&plan->lock);
    return more;
}

static void must(const char *path, int result)
{
    if (result < 0) {
        errno = -result;
        bench_fail(path);
    }
}

static void seal(struct plan *plan, struct lines *lines, const struct tlog_index_header *header)
{
    char path[PATH_BYTES];
    struct tlog_sealing *sealing;
    struct stat st;
    uint64_t end = segment_end(plan, header->pos);
    snprintf(path, sizeof path, "%s/topics/history/0/%020llu.zst", plan->store, (unsigned long long)header->pos);
    must(path, tlog_sealing_new(&sealing, &tlog_io_posix, path, header, plan->level));
    lines->chain = header->chain;
    for (uint64_t pos = header->pos; pos < end; pos += lines->entry.length_bytes) {
        lines_make(lines, pos, end);
        must(path, tlog_sealing_data(sealing, lines->data, lines->entry.length_bytes));
        must(path, tlog_sealing_entry(sealing, &lines->entry));
    }
    must(path, tlog_sealing_finish(sealing));
    tlog_sealing_free(sealing);
    if (stat(path, &st) < 0)
        bench_fail(path);
    pthread_mutex_lock(&plan->lock);
    plan->file_bytes += (uint64_t)st.st_size;
    pthread_mutex_unlock(&plan->lock);
}

static void *worker_run(void *arg)
{
    struct plan *plan = arg;
    struct lines lines;
    struct tlog_index_header header;
    lines_init(&lines, plan);
    while (take(plan, &lines, &header))
        seal(plan, &lines, &header);
    free(lines.data);
    return NULL;
}

/* ---- the store around them ---- */

static void refused(const char *what, const struct tlog_error *error, int result)
{
    if (result == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
            error->text[0] ? error->text : strerror(-result));
    exit(111);
}

/* Removes what a directory holds, no directories. */
static void empty(const char *directory)
{
    char path[PATH_BYTES];
    DIR *listing = opendir(directory);
    if (!listing)
        bench_fail(directory);
    for (struct dirent *entry; (entry = readdir(listing));)
        if (entry->d_name[0] != '.' && snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) > 0)
            unlink(path);
    closedir(listing);
}

/* Another inode with the same content. */
static void copy_id(const char *store)
{
    char path[PATH_BYTES], copy[PATH_BYTES], text[512];
    snprintf(path, sizeof path, "%s/id", store);
    snprintf(copy, sizeof copy, "%s/id.copy", store);
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t bytes = from < 0 ? -1 : read(from, text, sizeof text);
    if (to < 0 || bytes <= 0 || write(to, text, (size_t)bytes) != bytes || rename(copy, path) < 0)
        bench_fail(path);
    close(from);
    close(to);
}

static void store_make(struct plan *plan)
{
    static const char *const left[] = {"topics/history/0", "journal"};
    char path[PATH_BYTES];
    struct tlog_error error = {""};
    struct tlog_options options = {.create = true, .no_upkeep = true};
    struct tlog_attr attr = {.mode = 0755, .uid = getuid(), .gid = getgid()};
    struct tlog_store *store;
    struct tlog_topic *topic;
    refused(plan->store, &error, tlog_store_open(&store, plan->store, &options, &error));
    refused("history", &error, tlog_topic_create(store, "history", 1, &attr, &topic, &error));
    memcpy(plan->topic_id, tlog_topic_id(topic), 16);
    tlog_topic_unref(topic);
    refused(plan->store, &error, tlog_store_close(store, &error));
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        snprintf(path, sizeof path, "%s/%s", plan->store, left[i]);
        empty(path);
    }
    snprintf(path, sizeof path, "%s/checkpoint", plan->store);
    unlink(path);
    copy_id(plan->store);
}

static void run(struct plan *plan, size_t workers)
{
    int64_t began_ns = bench_now_ns();
    pthread_t *threads = calloc(workers, sizeof *threads);
    if (!threads)
        bench_fail("memory");
    store_make(plan);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    plan->first_ns = (int64_t)now.tv_sec * 1000000000 - YEAR_NS;
    memcpy(plan->next.topic_id, plan->topic_id, 16);
    plan->next.chain = tlog_root_chain(plan->topic_id, 0);
    pthread_mutex_init(&plan->lock, NULL);
    for (size_t i = 0; i < workers; i++)
        if ((errno = pthread_create(&threads[i], NULL, worker_run, plan)))
            bench_fail("thread");
    for (size_t i = 0; i < workers; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    printf("{\"bytes\": %llu, \"segments\": %llu, \"lines\": %llu, \"file_bytes\": %llu, \"ns\": %lld}\n",
           (unsigned long long)plan->bytes, (unsigned long long)plan->segments,
           (unsigned long long)(plan->bytes / plan->line_bytes), (unsigned long long)plan->file_bytes,
           (long long)(bench_now_ns() - began_ns));
}

int main(int argc, char **argv)
{
    static const char usage[] =
        "[-n BYTES] [-s SEGMENT_BYTES] [-e ENTRY_BYTES] [-l LINE_BYTES] [-z LEVEL] [-j THREADS] STORE";
    struct plan plan = {
        .bytes = 1 << 30, .segment_bytes = 256 << 20, .entry_bytes = 65536, .line_bytes = 100, .level = 1};
    size_t workers = 2;
    int option;

    while ((option = getopt(argc, argv, "n:s:e:l:z:j:")) != -1) {
        switch (option) {
        case 'n':
            plan.bytes = bench_number(optarg, 1);
            break;
        case 's':
            plan.segment_bytes = bench_number(optarg, 1);
            break;
        case 'e':
            plan.entry_bytes = bench_number(optarg, 1);
            break;
        case 'l':
            plan.line_bytes = bench_number(optarg, DIGITS + 1);
            break;
        case 'z':
            plan.level = (int)bench_number(optarg, 0);
            break;
        case 'j':
            workers = bench_number(optarg, 1);
            break;
        default:
            bench_usage(usage);
        }
    }
    if (optind != argc - 1 || plan.segment_bytes < plan.line_bytes || plan.entry_bytes < plan.line_bytes)
        bench_usage(usage);
    plan.store = argv[optind];
    /* Whole lines everywhere. */
    plan.entry_bytes -= plan.entry_bytes % plan.line_bytes;
    plan.segment_bytes -= plan.segment_bytes % plan.line_bytes;
    plan.bytes += plan.line_bytes - 1;
    plan.bytes -= plan.bytes % plan.line_bytes;
    run(&plan, workers);
    return 0;
}
