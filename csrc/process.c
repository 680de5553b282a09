/* process.c: the slots of the program's processes: who they are, and whether they still live. */
#include "arena.h"

#include <string.h>
#include <unistd.h>

psn_status psn_process_reserve(struct psn_arena *arena, uint32_t *identity) {
    for (int attempt = 0; attempt < 2; attempt++) {
        psn_arena_lock(arena);
        for (uint32_t slot = 0; slot < PSN_SLOTS; slot++) {
            struct psn_process *p = psn_process_at(arena, slot);
            uint32_t state = load_relaxed(&p->state);
            if (state != PSN_SLOT_FREE && (state != PSN_SLOT_SWEPT || attempt == 0))
                continue;
            /* The reuse count starts at 1 and skips 0, so that no identity is 0. */
            uint32_t uses = ((load_relaxed(&p->identity) >> 10) + 1) & ((1u << 22) - 1);
            *identity = (uses ? uses : 1) << 10 | slot;
            store_relaxed(&p->pid, 0);
            store_relaxed(&p->parent, arena->identity);
            store_relaxed(&p->started, 0);
            store_relaxed(&p->boot, 0);
            store_relaxed(&p->claim.from, 0);
            store_relaxed(&p->claim.to, 0);
            store_relaxed(&p->claim.running, PSN_NOT_RUNNING);
            store_relaxed(&p->claim.item, 0);
            store_relaxed(&p->claim.began, 0);
            store_relaxed(&p->claim.begun, 0);
            store_relaxed(&p->is_dismissed, 0);
            store_relaxed(&p->condemned, PSN_NOT_RUNNING);
            store_relaxed(&p->told, 0);
            store_relaxed(&p->identity, *identity);
            store_release(&p->state, PSN_SLOT_STARTING); /* commit */
            psn_arena_unlock(arena);
            return PSN_OK;
        }
        psn_arena_unlock(arena);
        psn_process_sweep_dead(arena);
    }
    return PSN_NO_SLOT;
}

void psn_process_enter(struct psn_arena *arena, uint32_t identity) {
    struct psn_process *p = psn_process_at(arena, psn_identity_slot(identity));
    uint32_t pid = (uint32_t)getpid();
    arena->slot = psn_identity_slot(identity);
    arena->identity = identity;
    store_relaxed(&p->started, psn_process_started(pid));
    store_relaxed(&p->pid, pid);
    store_release(&p->state, PSN_SLOT_RUNNING);
}

void psn_process_leave(struct psn_arena *arena, uint32_t exitcode) {
    struct psn_process *p = psn_process_at(arena, arena->slot);
    if (load_relaxed(&p->identity) != arena->identity)
        return;
    store_relaxed(&p->exitcode, exitcode);
    store_release(&p->state, PSN_SLOT_ENDED);
}

bool psn_identity_is_alive(struct psn_arena *arena, uint32_t identity) {
    struct psn_process *p = psn_process_at(arena, psn_identity_slot(identity));
    uint32_t state = load_acquire(&p->state);
    if (load_relaxed(&p->identity) != identity || state == PSN_SLOT_FREE || state == PSN_SLOT_SWEPT)
        return false;
    uint32_t pid = load_relaxed(&p->pid);
    if (pid == 0) /* about to start: it lives as long as the one who starts it */
        return load_relaxed(&p->parent) == arena->identity || psn_identity_is_alive(arena, load_relaxed(&p->parent));
    return psn_process_is_alive(pid, load_relaxed(&p->started));
}

bool psn_identity_has_died(struct psn_arena *arena, uint32_t identity, struct psn_death *death) {
    struct psn_process *p = psn_process_at(arena, psn_identity_slot(identity));
    uint32_t pid = load_relaxed(&p->pid);
    uint64_t started = load_relaxed(&p->started);
    if (load_relaxed(&p->identity) != identity || load_acquire(&p->state) != PSN_SLOT_RUNNING)
        return false; /* whoever swept the slot has marked what it held */
    if (psn_process_is_alive(pid, started) || load_relaxed(&p->identity) != identity ||
        load_acquire(&p->state) != PSN_SLOT_RUNNING)
        return false;
    *death = (struct psn_death){pid, psn_process_exitcode(pid, started)};
    return true;
}

bool psn_identity_has_failed(struct psn_arena *arena, uint32_t identity, struct psn_death *death) {
    struct psn_process *p = psn_process_at(arena, psn_identity_slot(identity));
    if (load_acquire(&p->state) != PSN_SLOT_ENDED)
        return psn_identity_has_died(arena, identity, death);
    *death = (struct psn_death){load_relaxed(&p->pid), (int32_t)load_relaxed(&p->exitcode)};
    /* It has said so, and may have some way to go. */
    return death->exitcode != 0 && !psn_process_is_alive(death->pid, load_relaxed(&p->started)) &&
           load_relaxed(&p->identity) == identity && load_acquire(&p->state) == PSN_SLOT_ENDED;
}

uint32_t psn_process_sweep_dead(struct psn_arena *arena) {
    uint32_t swept = 0;
    for (uint32_t slot = 0; slot < PSN_SLOTS; slot++) {
        struct psn_process *p = psn_process_at(arena, slot);
        uint32_t identity = load_relaxed(&p->identity), state = load_acquire(&p->state);
        if (state == PSN_SLOT_FREE || slot == arena->slot || psn_identity_is_alive(arena, identity))
            continue;
        bool has_parent = psn_identity_is_alive(arena, load_relaxed(&p->parent));
        if (state == PSN_SLOT_SWEPT && has_parent)
            continue;
        psn_process_sweep_to(arena, identity, load_acquire(&p->state) != PSN_SLOT_ENDED, PSN_EXIT_UNKNOWN,
                             has_parent ? PSN_SLOT_SWEPT : PSN_SLOT_FREE);
        swept++;
    }
    return swept;
}
