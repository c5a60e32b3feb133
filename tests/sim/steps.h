/* The steps of a workload; see workload.h. */
#ifndef STEPS_H
#define STEPS_H

#include "workload.h"

/* Each returns false when the model complains. */
bool step_append(struct work *work);
bool step_append_bare(struct work *work);
bool step_writer(struct work *work); /* opens, closes or drops */
bool step_sync(struct work *work);
bool step_sync_many(struct work *work);
bool step_upkeep(struct work *work);
bool step_store_sync(struct work *work);
bool step_read(struct work *work);
bool step_maintain(struct work *work);
bool step_trim(struct work *work);
bool step_pin(struct work *work); /* pins, reads or gives back */
bool step_topic_create(struct work *work);
bool step_topic_change(struct work *work); /* configured, renamed, removed or given a partition */

/* Learns which closed writers' lines have been appended since, and compares what every partition says of itself. */
bool step_settle(struct work *work);
/* A call is over: lets the crash points taken in it be judged, before the model learns what it answered. */
void step_returned(struct work *work);
/* An error that the disk's faults explain; otherwise the model complains. */
bool step_error(struct work *work, const char *call, int error);
/* A present topic, a present partition; NULL when there is none. */
struct model_topic *step_topic(struct work *work);
struct model_partition *step_partition(struct work *work);
bool step_has_writers(const struct work *work, const struct model_topic *topic);
bool step_has_pins(const struct work *work, const struct model_topic *topic);

#endif
