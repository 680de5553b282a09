/* pages.c: runs of pages, split and joined, free ones in bins by size; warm ones (touched) apart from cold ones.
   A warm page costs a sixth of a cold one to fill, so warm runs are taken first.
   The walk from page 0 by `pages` is always whole: each split or join is one store. */
#include "arena.h"

#include <limits.h>

#define SCAN_LIMIT 32 /* runs looked at within one bin before a larger bin is tried */
#define LARGE_PAGES 64 /* of a run whose coming and going tells that large data is on its way */

static unsigned bin_of(uint64_t pages) { return (unsigned)(63 - __builtin_clzll(pages)); }

static void bin_insert(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    uint64_t pages = load_relaxed(&p->pages);
    uint64_t *head = &arena->header->bins[p->warm != 0][bin_of(pages)];
    p->prev = 0;
    p->next = *head;
    if (*head)
        psn_page_at(arena, *head - 1)->prev = page + 1;
    *head = page + 1;
    if (p->warm)
        add_relaxed(&arena->header->warm_free, pages);
}

static void bin_remove(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    uint64_t pages = load_relaxed(&p->pages);
    if (p->prev)
        psn_page_at(arena, p->prev - 1)->next = p->next;
    else
        arena->header->bins[p->warm != 0][bin_of(pages)] = p->next;
    if (p->next)
        psn_page_at(arena, p->next - 1)->prev = p->prev;
    if (p->warm)
        add_relaxed(&arena->header->warm_free, -pages);
}

static void set_before(struct psn_arena *arena, uint64_t page, uint64_t length) {
    if (page < load_relaxed(&arena->header->top))
        psn_page_at(arena, page)->before = length;
}

static uint64_t find_run(struct psn_arena *arena, int warm, uint64_t pages, int limit) {
    for (unsigned bin = bin_of(pages); bin < PSN_BINS; bin++) {
        int looked = 0;
        for (uint64_t at = arena->header->bins[warm][bin]; at && looked < limit; looked++) {
            struct psn_page *p = psn_page_at(arena, at - 1);
            if (load_relaxed(&p->pages) >= pages)
                return at;
            at = p->next;
        }
    }
    return 0;
}

/* A new run behind all others; there must be room for it. */
static uint64_t take_top(struct psn_arena *arena, uint64_t pages) {
    struct psn_arena_header *h = arena->header;
    uint64_t top = load_relaxed(&h->top);
    struct psn_page *p = psn_page_at(arena, top);
    p->warm = 0;
    p->before = h->last_run; /* known only by walking, so it is kept beside the top */
    store_relaxed(&p->pages, pages);
    store_relaxed(&p->kind, PSN_PAGE_FREE);
    h->last_run = pages;
    store_release(&h->top, top + pages); /* commit */
    return top;
}

/* Join the run at `page` with the one after it; both are free and in no bin, and count as what the first one is. */
static void join(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    uint64_t length = load_relaxed(&p->pages);
    uint64_t joined = length + load_relaxed(&psn_page_at(arena, page + length)->pages);
    store_release(&p->pages, joined); /* commit */
    set_before(arena, page + joined, joined);
    if (page + joined == load_relaxed(&arena->header->top))
        arena->header->last_run = joined;
}

static bool is_free_like(struct psn_arena *arena, uint64_t page, uint32_t warm) {
    struct psn_page *p = psn_page_at(arena, page);
    return load_relaxed(&p->kind) == PSN_PAGE_FREE && (p->warm != 0) == (warm != 0);
}

static void join_after(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    uint64_t after = page + load_relaxed(&p->pages);
    if (after < load_relaxed(&arena->header->top) && is_free_like(arena, after, p->warm)) {
        bin_remove(arena, after);
        join(arena, page);
    }
}

static void insert_joined(struct psn_arena *arena, uint64_t page) {
    struct psn_page *p = psn_page_at(arena, page);
    join_after(arena, page);
    if (p->before && is_free_like(arena, page - p->before, p->warm)) {
        page -= p->before;
        bin_remove(arena, page);
        join(arena, page);
    }
    bin_insert(arena, page);
}

/* There is no such run within easy reach and no room behind the top.  Count all free runs as warm, so that neighbours join,
   look at every one, and at last lengthen the one before the top.  Gives page number + 1, or 0.
   Cold pages that count as warm do no harm: copies look which are missing, and giving them back again costs little. */
static uint64_t find_hard(struct psn_arena *arena, uint64_t pages) {
    struct psn_arena_header *h = arena->header;
    for (unsigned bin = 0; bin < PSN_BINS; bin++)
        while (h->bins[0][bin]) {
            uint64_t page = h->bins[0][bin] - 1;
            bin_remove(arena, page);
            psn_page_at(arena, page)->warm = 1;
            insert_joined(arena, page);
        }
    uint64_t at = find_run(arena, 1, pages, INT_MAX);
    uint64_t top = load_relaxed(&h->top), last = top - h->last_run;
    if (at || top == 0 || load_relaxed(&psn_page_at(arena, last)->kind) != PSN_PAGE_FREE ||
        pages - h->last_run > h->page_count - top)
        return at;
    bin_remove(arena, last);
    take_top(arena, pages - h->last_run);
    join(arena, last);
    bin_insert(arena, last);
    return last + 1;
}

/* A warm run that is too short, and with what is free behind it long enough: sizes that grow a little from one time to the next
   would otherwise find cold pages each time.  At least half is warm.  Gives page number + 1 of the joined run, or 0. */
static uint64_t lengthen(struct psn_arena *arena, uint64_t pages) {
    struct psn_arena_header *h = arena->header;
    for (unsigned bin = bin_of(pages), bins = 0; bins < 2; bins++) {
        int looked = 0;
        for (uint64_t at = h->bins[1][bin - bins]; at && looked < SCAN_LIMIT; looked++) {
            uint64_t page = at - 1, length = load_relaxed(&psn_page_at(arena, page)->pages), after = page + length;
            at = psn_page_at(arena, page)->next;
            if (length >= pages || length < pages / 2)
                continue;
            uint64_t top = load_relaxed(&h->top);
            if (after < top) {
                struct psn_page *p = psn_page_at(arena, after);
                if (load_relaxed(&p->kind) != PSN_PAGE_FREE || length + load_relaxed(&p->pages) < pages)
                    continue;
                bin_remove(arena, after);
            } else if (pages - length <= h->page_count - top) {
                take_top(arena, pages - length);
            } else {
                continue;
            }
            bin_remove(arena, page);
            join(arena, page);
            bin_insert(arena, page);
            return page + 1;
        }
        if (bin == 0)
            break;
    }
    return 0;
}

static void split(struct psn_arena *arena, uint64_t page, uint64_t pages, uint32_t warm_rest) {
    struct psn_page *p = psn_page_at(arena, page), *rest = psn_page_at(arena, page + pages);
    uint64_t length = load_relaxed(&p->pages);
    if (length == pages)
        return;
    rest->warm = warm_rest;
    rest->before = pages;
    store_relaxed(&rest->pages, length - pages);
    store_relaxed(&rest->kind, PSN_PAGE_FREE);
    store_release(&p->pages, pages); /* commit */
    set_before(arena, page + length, length - pages);
    if (page + length == load_relaxed(&arena->header->top))
        arena->header->last_run = length - pages;
    join_after(arena, page + pages); /* not with the run before: that is free, too, but taken */
    bin_insert(arena, page + pages);
}

static void note_large(struct psn_arena *arena, uint64_t pages) {
    if (pages >= LARGE_PAGES)
        store_relaxed(&arena->header->large_at, psn_clock_ns());
}

psn_status psn_pages_take(struct psn_arena *arena, uint64_t pages, uint64_t *first) {
    struct psn_arena_header *h = arena->header;
    bool is_lengthened = false;
    note_large(arena, pages);
    uint64_t at = find_run(arena, 1, pages, SCAN_LIMIT);
    if (!at && pages >= LARGE_PAGES)
        is_lengthened = (at = lengthen(arena, pages)) != 0;
    if (!at)
        at = find_run(arena, 0, pages, SCAN_LIMIT);
    if (!at && pages <= h->page_count - load_relaxed(&h->top)) {
        *first = take_top(arena, pages);
        return PSN_OK;
    }
    if (!at && !(at = find_hard(arena, pages)))
        return PSN_NO_MEMORY;
    *first = at - 1;
    bin_remove(arena, *first);
    split(arena, *first, pages, is_lengthened ? 0 : psn_page_at(arena, *first)->warm);
    return PSN_OK;
}

uint64_t psn_pages_take_warm(struct psn_arena *arena, uint64_t pages, uint64_t keep_pages, uint64_t *first) {
    struct psn_arena_header *h = arena->header;
    uint64_t warm = load_relaxed(&h->warm_free);
    for (unsigned bin = PSN_BINS; bin-- > 0 && warm > keep_pages;) {
        uint64_t at = h->bins[1][bin];
        if (!at)
            continue;
        *first = at - 1;
        uint64_t length = load_relaxed(&psn_page_at(arena, *first)->pages);
        pages = pages < warm - keep_pages ? pages : warm - keep_pages;
        bin_remove(arena, *first);
        if (pages < length)
            split(arena, *first, pages, 1);
        return pages < length ? pages : length;
    }
    return 0;
}

void psn_pages_give(struct psn_arena *arena, uint64_t first) {
    struct psn_page *p = psn_page_at(arena, first);
    note_large(arena, load_relaxed(&p->pages));
    store_release(&p->kind, PSN_PAGE_FREE); /* commit */
    insert_joined(arena, first);
}

void psn_pages_give_cold(struct psn_arena *arena, uint64_t first) {
    struct psn_page *p = psn_page_at(arena, first);
    p->warm = 0;
    store_release(&p->kind, PSN_PAGE_FREE); /* commit */
    insert_joined(arena, first);
}

void psn_pages_rebuild(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    for (unsigned bin = 0; bin < PSN_BINS; bin++)
        h->bins[0][bin] = h->bins[1][bin] = 0;
    store_relaxed(&h->warm_free, 0);
    h->last_run = 0;
    uint64_t top = load_relaxed(&h->top);
    for (uint64_t page = 0; page < top;) {
        struct psn_page *p = psn_page_at(arena, page);
        uint64_t length = load_relaxed(&p->pages);
        p->before = h->last_run;
        if (load_relaxed(&p->kind) == PSN_PAGE_FREE) {
            for (uint64_t after; (after = page + length) < top && is_free_like(arena, after, p->warm);)
                length += load_relaxed(&psn_page_at(arena, after)->pages);
            store_release(&p->pages, length); /* commit */
            bin_insert(arena, page);
        }
        h->last_run = length;
        page += length;
    }
}

const char *psn_pages_check(struct psn_arena *arena) {
    struct psn_arena_header *h = arena->header;
    uint64_t top = load_relaxed(&h->top), free_runs = 0, warm = 0, before = 0, page = 0;
    while (page < top) {
        struct psn_page *p = psn_page_at(arena, page);
        uint64_t length = load_relaxed(&p->pages);
        uint32_t kind = load_relaxed(&p->kind);
        if (length == 0 || length > top - page)
            return "a run of pages has an impossible length";
        if (p->before != before)
            return "a run does not know the length of the one before it";
        if (kind == PSN_PAGE_FREE) {
            free_runs++;
            warm += p->warm ? length : 0;
        } else if (kind != PSN_PAGE_RUN && kind != PSN_PAGE_SLAB) {
            return "a run of pages has an unknown kind";
        }
        before = length;
        page += length;
    }
    if (page != top)
        return "the runs of pages do not end at the top";
    if (warm != load_relaxed(&h->warm_free))
        return "the count of warm pages is off";
    uint64_t in_bins = 0;
    for (int warmth = 0; warmth < 2; warmth++)
        for (unsigned bin = 0; bin < PSN_BINS; bin++)
            for (uint64_t at = h->bins[warmth][bin]; at; at = psn_page_at(arena, at - 1)->next) {
                struct psn_page *p = psn_page_at(arena, at - 1);
                if (load_relaxed(&p->kind) != PSN_PAGE_FREE || bin_of(load_relaxed(&p->pages)) != bin ||
                    (p->warm != 0) != warmth || ++in_bins > free_runs)
                    return "a bin holds a run that does not belong there";
            }
    return in_bins == free_runs ? NULL : "a free run is in no bin";
}
