/* status.h: every status a function of the core can return, and its words, once.
   Functions return a status and give results through pointers; the binding turns a status into an
   exception at one point. */
#ifndef PSN_STATUS_H
#define PSN_STATUS_H

#define PSN_STATUS_MAP(X)                                                       \
    X(OK, "done")                                                               \
    X(TIMED_OUT, "the deadline passed")                                         \
    X(INTERRUPTED, "a signal arrived")                                          \
    X(EMPTY, "nothing is there")                                                \
    X(FULL, "there is no room")                                                 \
    X(CLOSED, "the channel is closed")                                          \
    X(GONE, "the shared object has been freed")                                 \
    X(OWNER_DIED, "the owner died")                                             \
    X(NOT_OWNER, "the caller does not hold it")                                 \
    X(NOT_HELD, "released more often than acquired")                            \
    X(NO_MEMORY, "no memory is left in the arena")                              \
    X(NO_SLOT, "every process slot is taken")                                   \
    X(BAD_ARENA, "the memory is not an arena of this version")                  \
    X(OS_ERROR, "the operating system refused; errno says why")

typedef enum psn_status {
#define X(name, text) PSN_##name,
    PSN_STATUS_MAP(X)
#undef X
} psn_status;

static inline const char *psn_status_text(psn_status status) {
    switch (status) {
#define X(name, text)                                                           \
    case PSN_##name:                                                            \
        return text;
        PSN_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

#define PSN_MUST_CHECK __attribute__((warn_unused_result))

#endif
