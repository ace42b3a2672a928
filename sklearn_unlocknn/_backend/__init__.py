"""The only place that imports TensorFlow, TensorFlow Probability, megnet, pymatgen."""
