/* What a store must hold: the memory of a workload, and the judge of what a crash left of it.
 *
 * Every line that is written has a text of its own, so a log can be compared with what was written line by line.
 * A line knows at which lengths it stood as an unfinished line ("rest") that the log had accepted, up to which of
 * them an answer is out, and up to which a sync was answered. After a crash a partition must hold: the lines of
 * the log up to some point, all that were promised among them; then, in any order, each line that was accepted as
 * a rest and is not among those, ended by a newline, once. */
#ifndef MODEL_H
#define MODEL_H

#include "log/topiclog.h"

enum { MODEL_PIECES = 12, MODEL_TOPICS = 24, MODEL_PARTITIONS = 4 };

enum model_crash {
    MODEL_KILL, /* what was answered is there */
    MODEL_CUT,  /* what was synced is there */
    MODEL_COPY, /* the lines synced before the copying began are there */
};

struct model_line {
    char *text;
    size_t length; /* with the newline once it is ended */
    size_t pieces[MODEL_PIECES];
    unsigned piece_count, answered, durable; /* of the pieces */
};

enum model_rest_state {
    MODEL_HELD,    /* by an open writer */
    MODEL_ORPHAN,  /* its writer was closed, and it could not be appended yet */
    MODEL_DROPPED, /* forgotten, but a power cut may bring it back */
};

struct model_rest {
    struct model_line *line;
    enum model_rest_state state;
    bool loose; /* dropped when the disk may have refused the record that says so: a crash may bring it back */
};

struct model_partition {
    struct model_topic *topic;
    struct tlog_partition *handle;
    bool present;    /* answered */
    bool may_return; /* its making failed: a power cut may show what was made */
    struct model_line **lines;
    size_t count, capacity;
    uint64_t end;             /* bytes of the lines */
    size_t durable, copied;   /* of the lines: synced; synced before the copying began */
    size_t first, first_most; /* of the lines kept: a trim was answered; one that failed may have gone so far */
    size_t first_copied;      /* the first one kept when the copying began */
    struct model_rest **rests;
    size_t rest_count, rest_capacity;
};

struct model_topic {
    bool used;
    uint8_t id[16];
    char name[256], old_name[256];        /* old: what a power cut may bring back, or empty */
    bool present, may_vanish, may_return; /* after a power cut */
    bool raw;
    int64_t quota;       /* the value of quota.bytes, a key that stands for all configuration here */
    int64_t retention;   /* retention.bytes; 0: for ever */
    int64_t other_quota; /* 0, or one whose setting failed at a point from which a restart may find it done */
    struct tlog_topic *handle;
    struct model_partition partitions[MODEL_PARTITIONS];
};

struct model {
    struct model_topic topics[MODEL_TOPICS];
    char why[1024];      /* the first thing that was wrong; empty: nothing */
    bool faulty;         /* the disk may refuse a call */
    const char *scratch; /* a directory of the real filesystem, for tlog_verify */
    /* tallies, to see that what was meant to be tested was met */
    uint64_t checks, kept, lost, ended, torn, sealed, trimmed;
};

/* What a call that has not returned may have done. All of it is optional. */
struct model_flight {
    struct model_partition *partition;
    struct model_line *lines[64]; /* to be appended to the log, in this order */
    size_t count;
    const struct model_rest *ends;  /* the rest that lines[0] ends */
    const struct model_rest *grows; /* the rest that becomes `rest` */
    struct model_line *rest;        /* an unfinished line, new or grown */
    const struct model_rest *drops; /* the rest that is forgotten */
    struct model_topic *creates, *removes, *renames;
    struct model_partition *adds;
    const char *new_name;
    struct model_topic *configures;
    struct model_partition *trims; /* to trim_pos at most */
    uint64_t trim_pos;
    bool maintains; /* retention may trim wherever there is one */
    int64_t new_quota;
};

void model_init(struct model *model, const char *scratch);
void model_release(struct model *model);
/* Remembers the first complaint. Returns false. */
bool model_fail(struct model *model, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct model_line *model_line_new(const char *text, size_t length);
struct model_line *model_line_copy(const struct model_line *line);
void model_line_add(struct model_line *line, const char *text, size_t length);
void model_line_free(struct model_line *line);
/* The line stands as an accepted rest at its present length. */
void model_line_accept(struct model_line *line);

/* Takes the line. */
void model_partition_add(struct model_partition *partition, struct model_line *line);
struct model_rest *model_partition_hold(struct model_partition *partition, struct model_line *line);
/* Removes and frees the rest; its line too, if `line`. */
void model_partition_forget(struct model_partition *partition, const struct model_rest *rest, bool line);
/* A sync was answered with 0, of what the log held when it was asked for. */
void model_partition_synced(struct model_partition *partition);
/* The library says that these bytes are durable. */
void model_partition_durable(struct model_partition *partition, uint64_t pos);
size_t model_partition_held(const struct model_partition *partition);

/* The call returned: what it did is done. The flight's lines go to the model or are freed. Returns the rest that
 * is held now, or NULL. */
struct model_rest *model_flight_land(struct model_flight *flight, bool lines, bool rest);
void model_flight_release(struct model_flight *flight);

/* Judges a store opened after a crash; `flight` (or NULL) was under way. `adopt`: what was found is the model from
 * now on. Returns whether all is well; otherwise model->why says what is not. */
bool model_check(struct model *model, struct model_flight *flight, struct tlog_store *store, enum model_crash crash,
                 bool adopt);
/* How many of the partition's lines end at or before `pos`; *exact: one ends there. */
size_t model_partition_lines(const struct model_partition *partition, uint64_t pos, bool *exact);
/* The partition starts there, whether by a trim or by retention. False when it must not. */
bool model_partition_start(struct model *model, struct model_partition *partition, uint64_t pos);
/* Judges a store that lives: partitions hold exactly what they should. */
bool model_check_live(struct model *model, struct model_partition *partition);

#endif
