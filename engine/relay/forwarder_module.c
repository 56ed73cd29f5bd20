/* What Python sees of the forwarder: engine/relay/forwarder.pyi says it in types. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "forwarder.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

typedef struct { PyObject_HEAD Forwarder *core; } ForwarderObject;
typedef struct { PyObject_HEAD Cipher cipher; } CipherObject;
typedef struct { PyObject_HEAD History history; PyObject *owner; } HistoryObject;
typedef struct {
    PyObject_HEAD Direction direction;
    PyObject *owner, *ciphers[2], *histories[MAX_FLOWS];
    Py_buffer seen[MAX_FLOWS][2]; /* Python's own replay windows, used in place */
} DirectionObject;

static PyTypeObject *forwarder_type, *cipher_type, *history_type;

#define CORE(object) (((ForwarderObject *)(object))->core)
/* Whoever waits for the thread lets other Python threads run. */
#define LOCK(owner) do { Py_BEGIN_ALLOW_THREADS forwarder_lock(CORE(owner)); Py_END_ALLOW_THREADS } while (0)
#define UNLOCK(owner) forwarder_unlock(CORE(owner))

static PyObject *make(PyTypeObject *type) { return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0); }

static void discard(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *mistake(const char *what) {
    PyErr_SetString(PyExc_ValueError, what);
    return NULL;
}

static PyObject *cipher_make(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    const uint8_t *key, *salt, *mac;
    Py_ssize_t key_bytes, salt_bytes, mac_bytes;
    int aead, sending, tag_bytes;
    if (!PyArg_ParseTuple(args, "ppiy#y#y#", &aead, &sending, &tag_bytes, &key, &key_bytes, &salt, &salt_bytes, &mac,
                          &mac_bytes)) return NULL;
    CipherObject *self = (CipherObject *)make(type);
    if (self == NULL || !cipher_init(&self->cipher, aead, sending, tag_bytes, key, (int)key_bytes, salt,
                                     (int)salt_bytes, mac, (int)mac_bytes)) return (PyObject *)self;
    Py_DECREF(self);
    return mistake("there is no such cipher: load libcrypto first, and check the lengths of key, salt and tag");
}

static void cipher_dealloc(PyObject *self) {
    cipher_free(&((CipherObject *)self)->cipher);
    discard(self);
}

/* -- History */

static PyObject *history_make(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    PyObject *owner;
    unsigned int slots, maximum_bytes;
    double maximum_age_s;
    if (!PyArg_ParseTuple(args, "O!IId", forwarder_type, &owner, &slots, &maximum_bytes, &maximum_age_s)) return NULL;
    if (slots < 1 || slots > 0x8000 || slots & (slots - 1)) return mistake("slots must be a power of two up to 32768");
    HistoryObject *self = (HistoryObject *)make(type);
    if (self == NULL) return NULL;
    self->owner = Py_NewRef(owner);
    history_init(&self->history, slots, maximum_bytes, maximum_age_s);
    return (PyObject *)self;
}

static void history_dealloc(PyObject *object) {
    history_free(&((HistoryObject *)object)->history);
    Py_DECREF(((HistoryObject *)object)->owner);
    discard(object);
}

static PyObject *store(HistoryObject *self, PyObject *args) {
    unsigned int number;
    Py_buffer header, payload;
    double now;
    if (!PyArg_ParseTuple(args, "Iy*y*d", &number, &header, &payload, &now)) return NULL;
    LOCK(self->owner);
    history_store(&self->history, (uint16_t)number, header.buf, (size_t)header.len, payload.buf, (size_t)payload.len,
                  now);
    UNLOCK(self->owner);
    PyBuffer_Release(&header);
    PyBuffer_Release(&payload);
    Py_RETURN_NONE;
}

static PyObject *find(HistoryObject *self, PyObject *args) {
    unsigned int number;
    char bytes[OUT_BYTES];
    Sent copy;
    if (!PyArg_ParseTuple(args, "I", &number)) return NULL;
    LOCK(self->owner);
    const Sent *sent = history_find(&self->history, (uint16_t)number);
    if (sent != NULL) {
        copy = *sent;
        memcpy(bytes, sent + 1, (size_t)sent->header_bytes + sent->payload_bytes);
    }
    UNLOCK(self->owner);
    if (sent == NULL) Py_RETURN_NONE;
    return Py_BuildValue("dy#y#", copy.at, bytes, (Py_ssize_t)copy.header_bytes, bytes + copy.header_bytes,
                         (Py_ssize_t)copy.payload_bytes);
}

static PyObject *clear(HistoryObject *self, PyObject *Py_UNUSED(unused)) {
    LOCK(self->owner);
    history_clear(&self->history);
    UNLOCK(self->owner);
    Py_RETURN_NONE;
}

/* -- Direction */

/* Objects are made outside the lock: making one may collect garbage, and that may want the lock. */
static PyObject *settled(DirectionObject *self, PyObject *args, int for_good) {
    int slot;
    Note journal[JOURNAL];
    if (!PyArg_ParseTuple(args, "i", &slot)) return NULL;
    if (slot < 0 || slot >= MAX_FLOWS || !self->direction.flows[slot].is_open) return mistake("that flow is not open");
    Flow *flow = &self->direction.flows[slot];
    LOCK(self->owner);
    Flow before = *flow;
    uint32_t notes = self->direction.notes, number = self->direction.number;
    memcpy(journal, self->direction.journal, notes * sizeof(Note));
    flow->state.packets = flow->state.advance = flow->state.payload_bytes = 0;
    flow->state.replayed = flow->state.forged = 0;
    self->direction.notes = 0;
    self->direction.wants_attention = 0;
    if (for_good) flow->is_open = 0;
    UNLOCK(self->owner);
    for (int i = 0; for_good && i < 2; i++) PyBuffer_Release(&self->seen[slot][i]);
    if (for_good) Py_CLEAR(self->histories[slot]);
    return Py_BuildValue("y#iiIy#", (char *)&before.state, (Py_ssize_t)sizeof before.state,
                         before.numbers.picture_id_shift, before.numbers.tl0_shift, number, (char *)journal,
                         (Py_ssize_t)(notes * sizeof(Note)));
}

static PyObject *quiet(DirectionObject *self, PyObject *args) {
    int slot, done;
    if (!PyArg_ParseTuple(args, "i", &slot)) return NULL;
    if (slot < 0 || slot >= MAX_FLOWS) return mistake("that flow is not open");
    LOCK(self->owner);
    done = self->direction.notes == 0;
    if (done) self->direction.flows[slot].telling = 0;
    UNLOCK(self->owner);
    return PyBool_FromLong(done);
}

static PyObject *settle(DirectionObject *self, PyObject *args) { return settled(self, args, 0); }
static PyObject *close_(DirectionObject *self, PyObject *args) { return settled(self, args, 1); }

static void direction_dealloc(PyObject *object) {
    DirectionObject *self = (DirectionObject *)object;
    LOCK(self->owner);
    forwarder_detach(CORE(self->owner), &self->direction);
    UNLOCK(self->owner);
    for (int i = 0; i < MAX_FLOWS; i++) {
        if (self->direction.flows[i].is_open) PyBuffer_Release(&self->seen[i][0]), PyBuffer_Release(&self->seen[i][1]);
        Py_XDECREF(self->histories[i]);
    }
    Py_DECREF(self->ciphers[0]);
    Py_DECREF(self->ciphers[1]);
    Py_DECREF(self->owner);
    discard(object);
}

static uint64_t *window(Py_buffer *view, PyObject *array, uint32_t mask) {
    if (PyObject_GetBuffer(array, view, PyBUF_WRITABLE) < 0) return NULL;
    if (view->len == ((Py_ssize_t)mask + 1) * 8 && (mask & (mask + 1)) == 0) return view->buf;
    PyBuffer_Release(view);
    return (uint64_t *)mistake("a window has 8 bytes for each of a power of two of indices");
}

static PyObject *open_(DirectionObject *self, PyObject *args) {
    Forwarder *core = CORE(self->owner);
    Flow flow = {.is_open = 1};
    const char *numbers, *state;
    Py_ssize_t numbers_bytes, state_bytes;
    PyObject *seen_in, *seen_out, *history;
    unsigned int number;
    int slot = 0, others = 0;
    double now;
    if (!PyArg_ParseTuple(args, "y#y#OOOId", &numbers, &numbers_bytes, &state, &state_bytes, &seen_in, &seen_out,
                          &history, &number, &now)) return NULL;
    if (numbers_bytes != sizeof flow.numbers || state_bytes != sizeof flow.state)
        return mistake("numbers and state have another layout: forwarder.h says which");
    memcpy(&flow.numbers, numbers, sizeof flow.numbers);
    memcpy(&flow.state, state, sizeof flow.state);
    if (flow.numbers.passed > 2 || flow.state.in_index < 0 || flow.state.out_index < 0)
        return mistake("a flow passes two extensions on at most, and has no negative index");
    if (history != Py_None && (Py_TYPE(history) != history_type || ((HistoryObject *)history)->owner != self->owner))
        return mistake("the history is not one of this forwarder");
    for (int i = 0; i < MAX_FLOWS; i++) others += self->direction.flows[i].is_open;
    while (slot < MAX_FLOWS && self->direction.flows[slot].is_open) slot++;
    if (slot == MAX_FLOWS) Py_RETURN_NONE;
    if ((flow.seen_in = window(&self->seen[slot][0], seen_in, flow.numbers.mask_in)) == NULL) return NULL;
    if ((flow.seen_out = window(&self->seen[slot][1], seen_out, flow.numbers.mask_out)) == NULL) {
        PyBuffer_Release(&self->seen[slot][0]);
        return NULL;
    }
    if (history != Py_None) flow.history = &((HistoryObject *)history)->history;
    LOCK(self->owner);
    if (!others) self->direction.paused = 0, self->direction.number = number & 0xFFFF;
    int opened = !self->direction.paused;
    if (opened) self->direction.flows[slot] = flow, forwarder_catch_up(core, &self->direction, now);
    UNLOCK(self->owner);
    if (opened && history != Py_None) self->histories[slot] = Py_NewRef(history);
    if (opened) return PyLong_FromLong(slot);
    PyBuffer_Release(&self->seen[slot][0]);
    PyBuffer_Release(&self->seen[slot][1]);
    Py_RETURN_NONE;
}

/* -- Forwarder */

static PyObject *forwarder_make(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    unsigned int hand_ups;
    if (!PyArg_ParseTuple(args, "I", &hand_ups)) return NULL;
    if (hand_ups < 1 || hand_ups > 65536) return mistake("hand_ups must be 1 to 65536");
    PyObject *self = make(type);
    if (self == NULL || (CORE(self) = forwarder_new(hand_ups)) != NULL) return self;
    Py_DECREF(self);
    return PyErr_SetFromErrno(PyExc_OSError);
}

static void forwarder_dealloc(PyObject *self) {
    if (CORE(self) != NULL) forwarder_free(CORE(self));
    discard(self);
}

static PyObject *listen_(PyObject *self, PyObject *args) {
    int file;
    if (!PyArg_ParseTuple(args, "i", &file)) return NULL;
    if (CORE(self)->running || CORE(self)->socket_count == MAX_SOCKETS)
        return mistake("the thread runs already, or there are 64 sockets");
    CORE(self)->sockets[CORE(self)->socket_count] = file;
    return PyLong_FromLong(CORE(self)->socket_count++);
}

static PyObject *start(PyObject *self, PyObject *args) {
    double offset_s;
    if (!PyArg_ParseTuple(args, "d", &offset_s)) return NULL;
    errno = CORE(self)->running ? EALREADY : forwarder_start(CORE(self), offset_s);
    return errno ? PyErr_SetFromErrno(PyExc_OSError) : Py_NewRef(Py_None);
}

static PyObject *stop(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Py_BEGIN_ALLOW_THREADS
    forwarder_stop(CORE(self));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *fileno_(PyObject *self, PyObject *Py_UNUSED(unused)) { return PyLong_FromLong(CORE(self)->signal); }

static int append(PyObject *list, PyObject *item) {
    int failed = item == NULL || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return !failed;
}

static PyObject *take(PyObject *self, PyObject *Py_UNUSED(unused)) {
    Forwarder *core = CORE(self);
    PyObject *list = PyList_New(0);
    eventfd_t signals;
    Address attention[BATCH];
    int sound = list != NULL;
    (void)eventfd_read(core->signal, &signals); /* before the look: what comes later signals again */
    LOCK(self);
    uint32_t head = core->ring_head, tail = core->ring_tail;
    int attention_count = core->attention_count;
    memcpy(attention, core->attention, sizeof attention);
    core->attention_count = 0;
    core->patient_until = 0;
    UNLOCK(self);
    /* The thread does not touch what lies before the tail. */
    for (int i = 0; sound && i < BATCH && head != tail; head++) {
        HandUp *slot = &core->ring[head % core->ring_slots];
        if (slot->length == TAKEN) continue;
        i++;
        sound = append(list, Py_BuildValue("y#y#d", (char *)&slot->from, (Py_ssize_t)sizeof slot->from,
                                           (char *)slot->bytes, (Py_ssize_t)slot->length, slot->arrived_at));
    }
    LOCK(self);
    core->ring_head = head;
    if (head != core->ring_tail) eventfd_write(core->signal, 1);
    else core->ring_head = core->ring_tail = 0; /* the same memory again */
    UNLOCK(self);
    if (!sound) Py_CLEAR(list);
    if (list == NULL) return NULL;
    return Py_BuildValue("Ny#", list, (char *)attention, (Py_ssize_t)((size_t)attention_count * sizeof(Address)));
}

static PyObject *process(PyObject *self, PyObject *args) {
    Forwarder *core = CORE(self);
    const uint8_t *from, *packet;
    Py_ssize_t from_bytes, length;
    double arrived_at, now;
    Address address;
    if (!PyArg_ParseTuple(args, "y#y#dd", &from, &from_bytes, &packet, &length, &arrived_at, &now)) return NULL;
    if (from_bytes != sizeof(Address) || length > DATAGRAM_BYTES || core->running)
        return mistake("give an address of 24 bytes and a datagram of 2048 at most, while no thread runs");
    memcpy(core->packets[0], packet, (size_t)length);
    memcpy(&address, from, sizeof address);
    if (!forwarder_process(core, &address, core->packets[0], (size_t)length, arrived_at, now)) Py_RETURN_NONE;
    PyObject *list = PyList_New(0);
    int sound = list != NULL;
    for (int i = 0; i < core->out_count; i++) {
        Out *out = &core->outs[i];
        sound = sound && append(list, Py_BuildValue("y#y#", (char *)&out->direction->to, (Py_ssize_t)sizeof(Address),
                                                    (char *)out->bytes, (Py_ssize_t)out->length));
        out->direction->first_out = out->direction->last_out = -1;
    }
    core->out_count = 0;
    if (!sound) Py_CLEAR(list);
    return list;
}

static PyObject *direction_make(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords)) {
    const char *from, *to;
    Py_ssize_t from_bytes, to_bytes;
    PyObject *owner, *in, *out;
    int journal_sent;
    if (!PyArg_ParseTuple(args, "O!y#y#O!O!p", forwarder_type, &owner, &from, &from_bytes, &to, &to_bytes, cipher_type,
                          &in, cipher_type, &out, &journal_sent)) return NULL;
    if (from_bytes != sizeof(Address) || to_bytes != sizeof(Address)) return mistake("an address has 24 bytes");
    if (((const Address *)to)->socket >= CORE(owner)->socket_count)
        return mistake("there is no such socket: listen on it first");
    DirectionObject *self = (DirectionObject *)make(type);
    if (self == NULL) return NULL;
    self->owner = Py_NewRef(owner);
    self->ciphers[0] = Py_NewRef(in);
    self->ciphers[1] = Py_NewRef(out);
    memcpy(&self->direction.from, from, sizeof(Address));
    memcpy(&self->direction.to, to, sizeof(Address));
    self->direction.journal_sent = journal_sent;
    self->direction.in = &((CipherObject *)in)->cipher;
    self->direction.out = &((CipherObject *)out)->cipher;
    LOCK(owner);
    forwarder_attach(CORE(owner), &self->direction);
    UNLOCK(owner);
    return (PyObject *)self;
}

static PyObject *counters(PyObject *self, PyObject *Py_UNUSED(unused)) {
    return PyBytes_FromStringAndSize((char *)&CORE(self)->counters, sizeof(Counters));
}

/* -- the module */

static PyObject *load(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *library;
    return PyArg_ParseTuple(args, "s", &library) ? Py_BuildValue("z", forwarder_load(library)) : NULL;
}

static PyTypeObject *add_type(PyObject *module, const char *name, size_t size, void *create, void *dealloc,
                              PyMethodDef *methods) {
    PyType_Slot slots[] = {{Py_tp_dealloc, dealloc}, {Py_tp_methods, methods}, {Py_tp_new, create}, {0, 0}};
    PyType_Spec spec = {name, (int)size, 0, Py_TPFLAGS_DEFAULT, slots};
    PyObject *type = PyType_FromSpec(&spec);
    if (type == NULL || PyModule_AddObjectRef(module, strrchr(name, '.') + 1, type) < 0) return NULL;
    return (PyTypeObject *)type;
}

#define METHOD(name, function, kind) {name, (PyCFunction)(void (*)(void))function, kind, NULL}
static PyMethodDef module_methods[] = {METHOD("load", load, METH_VARARGS), {0}};
static PyMethodDef cipher_methods[] = {{0}};
static PyMethodDef history_methods[] = {METHOD("store", store, METH_VARARGS), METHOD("find", find, METH_VARARGS),
                                        METHOD("clear", clear, METH_NOARGS), {0}};
static PyMethodDef direction_methods[] = {METHOD("open", open_, METH_VARARGS), METHOD("settle", settle, METH_VARARGS),
                                          METHOD("quiet", quiet, METH_VARARGS),
                                          METHOD("close", close_, METH_VARARGS), {0}};
static PyMethodDef forwarder_methods[] = {
    METHOD("listen", listen_, METH_VARARGS), METHOD("start", start, METH_VARARGS), METHOD("stop", stop, METH_NOARGS),
    METHOD("fileno", fileno_, METH_NOARGS), METHOD("take", take, METH_NOARGS),
    METHOD("process", process, METH_VARARGS), METHOD("counters", counters, METH_NOARGS), {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "forwarder", NULL, -1, module_methods, NULL, NULL, NULL,
                                        NULL};

PyMODINIT_FUNC PyInit_forwarder(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
#define TYPE(name) "triortc.engine.relay.forwarder." name
    forwarder_type = add_type(module, TYPE("Forwarder"), sizeof(ForwarderObject), (void *)forwarder_make,
                              (void *)forwarder_dealloc, forwarder_methods);
    cipher_type = add_type(module, TYPE("Cipher"), sizeof(CipherObject), (void *)cipher_make, (void *)cipher_dealloc,
                           cipher_methods);
    history_type = add_type(module, TYPE("History"), sizeof(HistoryObject), (void *)history_make,
                            (void *)history_dealloc, history_methods);
    PyTypeObject *direction_type = add_type(module, TYPE("Direction"), sizeof(DirectionObject), (void *)direction_make,
                               (void *)direction_dealloc, direction_methods);
    if (forwarder_type && cipher_type && history_type && direction_type) return module;
    Py_DECREF(module);
    return NULL;
}
