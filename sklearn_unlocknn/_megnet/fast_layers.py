"""Faster MEGNetLayer and Set2Set, with the equations and weights of megnet's own.

megnet's layers repeat the state of each graph as often as the largest graph of the
batch has bonds and mask the surplus, which takes time and, in batches of mixed sizes,
memory without bound. These run on 2-d tensors and gather rows instead.
"""

import math

from .compat import import_megnet


def fast_layer():
    """Return a MEGNetLayer that gathers the states of graphs instead of tiling them.

    The first bond layer acts on [v_i, v_j, e_ij, u]: its atom and state parts are
    multiplied once an atom and gathered, as W [a, b] = W_a a + W_b b.
    """
    import tensorflow as tf

    base = import_megnet().layers.MEGNetLayer

    class MEGNetLayer(base):
        def call(self, inputs, mask=None):
            v, e, u, i, j, v_graph, e_graph = (x[0] for x in inputs)

            def parameters(kind):
                weights = getattr(self, f"phi_{kind}_weights")
                biases = getattr(self, f"phi_{kind}_biases")
                return weights, biases or [0.0] * len(weights)

            def rest(x, weights, biases):
                for w, b in zip(weights[1:], biases[1:], strict=True):
                    x = tf.matmul(self.activation(x), w) + b
                return x

            Ws, bs = parameters("e")
            nv = v.shape[-1]
            Wi, Wj, We, Wu = tf.split(Ws[0], [nv, nv, e.shape[-1], u.shape[-1]])
            at_i = tf.matmul(v, Wi) + tf.gather(tf.matmul(u, Wu) + bs[0], v_graph)
            at_j = tf.matmul(v, Wj)
            e = tf.matmul(e, We) + tf.gather(at_i, i) + tf.gather(at_j, j)
            e = rest(e, Ws, bs)

            e_mean = self.unsorted_seg_method(e, i, num_segments=tf.shape(v)[0])
            Ws, bs = parameters("v")
            v = tf.concat([e_mean, v, tf.gather(u, v_graph)], -1)
            v = rest(tf.matmul(v, Ws[0]) + bs[0], Ws, bs)

            pooled = [self.seg_method(e, e_graph), self.seg_method(v, v_graph)]
            Ws, bs = parameters("u")
            u = rest(tf.matmul(tf.concat([*pooled, u], -1), Ws[0]) + bs[0], Ws, bs)
            return [v[None], e[None], u[None]]

    return MEGNetLayer


def fast_set2set():
    """Return a Set2Set that gathers rows instead of tiling them.

    As in megnet's own, each step starts from the first memory of the LSTM, so its
    forget gate has no effect.
    """
    import tensorflow as tf

    base = import_megnet().layers.Set2Set

    class Set2Set(base):
        def call(self, inputs, mask=None):
            x, owner = (tensor[0] for tensor in inputs)
            m = tf.matmul(x, self.m_weight)
            q = tf.zeros((owner[-1] + 1, 2 * self.n_hidden), m.dtype)
            if self.use_bias:
                m += self.m_bias
            for _ in range(self.T):
                z = tf.matmul(q, self.recurrent_kernel)
                if self.use_bias:
                    z += self.recurrent_bias
                into, _, cell, out = tf.split(z, 4, -1)
                cell = self.recurrent_activation(into) * self.activation_lstm(cell)
                h = self.recurrent_activation(out) * self.activation_lstm(cell)
                # Softmax over the rows of each graph, shifted by its maximum
                e = tf.reduce_sum(m * tf.gather(h, owner), -1)
                top = tf.math.segment_max(tf.stop_gradient(e), owner)
                e = tf.exp(e - tf.gather(top, owner))[:, None]
                r = tf.math.segment_sum(e * m, owner) / tf.math.segment_sum(e, owner)
                q = tf.concat([h, r], -1)
            return q[None]

    return Set2Set


def softplus2(x):
    """Compute MEGNet's activation log((1 + exp(x)) / 2) in one kernel."""
    import tensorflow as tf

    return tf.nn.softplus(x) - math.log(2.0)
