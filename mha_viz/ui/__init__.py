"""The only part that imports Streamlit: state, controls, panels, the plot component, the server."""
